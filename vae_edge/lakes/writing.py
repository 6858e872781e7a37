"""Tables of scores as the bytes of a file, a part at a time, with types that do not depend on the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.scoring.score_table import Columns, to_csv, to_rows

_TYPES = {"row_id": "string", "status": "string", "is_anomaly": "bool_"}
"""Of columns of Parquet that are no arrays; p-values are float64, all others float32."""


def file_chunks(path: Path, parts: Iterable[Columns], *, nan_is_missing: bool = True) -> Iterator[bytes]:
    """The bytes of a table in the format of the ending of ``path``.

    Args:
        path: ends with .csv, .jsonl or .parquet.
        parts: pieces of the table with the same columns and types, at least one.
        nan_is_missing: in Parquet, where NaN may be a value of its own.

    Raises:
        MissingDependency: Parquet needs pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(parts, nan_is_missing)
    elif suffix == ".jsonl":
        for part in parts:
            yield "".join(json.dumps(row, allow_nan=False) + "\n" for row in to_rows(part)).encode()
    else:
        for i, part in enumerate(parts):
            header = to_csv({name: () for name in part}) if i else ""
            yield to_csv(part)[len(header) :].encode("utf-8", "backslashreplace")


def _parquet(parts: Iterable[Columns], nan_is_missing: bool) -> Iterator[bytes]:
    arrow = require("pyarrow", extra="parquet", why="writing Parquet")
    parquet = require("pyarrow.parquet", extra="parquet", why="writing Parquet")
    sink, writer = _Sink(), None
    try:
        for part in parts:
            schema = arrow.schema([(name, getattr(arrow, _type(name, values))()) for name, values in part.items()])
            arrays = [arrow.array(part[f.name], f.type, from_pandas=nan_is_missing) for f in schema]
            writer = writer or parquet.ParquetWriter(sink, schema)
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            yield sink.take()
    finally:
        if writer is not None:
            writer.close()
    yield sink.take()


def _type(name: str, values: Any) -> str:
    """Of a column of Parquet: that of its array, or what the name stands for."""
    if isinstance(values, np.ndarray):
        return "string" if values.dtype.kind == "U" else values.dtype.name
    return _TYPES.get(name, "float64" if name.endswith("p_value") else "float32")


class _Sink:
    """A file that pyarrow writes to, whose bytes are taken away as they come."""

    closed = False

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._position = 0

    def write(self, block: Any) -> int:
        data = bytes(block)
        self._blocks.append(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._blocks)
        self._blocks.clear()
        return data
