"""Columns of equal length to CSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime._fs import write_atomic
from vae_edge_runtime._require import require
from vae_edge_runtime.errors import OptionError

Columns = Mapping[str, Sequence[Any]]

SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse an output whose ending names no known format, before any work is done.

    Raises:
        OptionError: the ending is another; the message lists the valid ones.
    """
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"{path} ends with none of {', '.join(suffixes)}: the ending chooses the format")


def write_table(path: Path, columns: Columns) -> None:
    """Write the columns in the format of the ending, atomically.

    Raises:
        MissingDependency: pyarrow is needed for Parquet. StorageError: the disk refused.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_atomic(path, [to_csv(columns).encode()])
    elif suffix == ".jsonl":
        write_atomic(path, ((json.dumps(row, allow_nan=False) + "\n").encode() for row in to_rows(columns)))
    else:
        arrow = require("pyarrow", extra="parquet", why="writing Parquet")
        parquet = require("pyarrow.parquet", extra="parquet", why="writing Parquet")
        buffer = io.BytesIO()
        parquet.write_table(arrow.table({name: arrow.array(list(values)) for name, values in columns.items()}), buffer)
        write_atomic(path, [buffer.getvalue()])


def to_csv(columns: Columns) -> str:
    """One header line, then a line per row; a value that is absent or not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in to_rows(columns):
        writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in row.values()])
    return text.getvalue()


def to_rows(columns: Columns) -> list[dict[str, Any]]:
    """Rows as plain dicts for JSON; NaN and infinity become None."""
    plain = {name: [_plain(value) for value in values] for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, np.float32):
        value = float(str(value))  # the shortest decimals that give the same float32 back
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
