"""Parquet files of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import json_value

from .arrow_numbers import as_float64, is_numeric
from .files import NoRows, check_regular, first_bytes, refuse_other_kind
from .limits import check_limit
from .options import TableOptions
from .table import Loaded, Trouble


class ParquetTable:
    """A Parquet file; its columns of other types than numbers may be there, but not be used."""

    kind = "parquet"
    has_header = True
    header = "names from the file"

    def __init__(self, path: Path, options: TableOptions) -> None:
        """Read the schema.

        Raises:
            DataError: it is damaged, empty, or above a limit. MissingDependency: pyarrow is not installed.
        """
        check_regular(path)
        head = first_bytes(path, 16)
        if not head.startswith(b"PAR1"):
            refuse_other_kind(path, head, "Parquet file")
        self._arrow = require("pyarrow", extra="parquet", why="reading Parquet")
        self._parquet = require("pyarrow.parquet", extra="parquet", why="reading Parquet")
        self.path = path
        try:
            with self._parquet.ParquetFile(path) as file:
                schema, self._rows = file.schema_arrow, file.metadata.num_rows
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise DataError(f"{path} cannot be read as Parquet: {error}") from error
        if self._rows < 0:
            raise DataError(f"{path} cannot be read as Parquet: it states {self._rows} rows")
        self.names = list(schema.names)
        check_limit("rows", self._rows, path)
        check_limit("columns", len(self.names), path)
        if self._rows == 0:
            raise NoRows(f"{path} holds no rows")
        self._schema = schema
        self.index_columns = _index_of_pandas(schema.metadata, self.names)

    def load(self, indices: Sequence[int]) -> Loaded:
        """Columns by their place.

        Raises:
            DataError: the file is damaged.
        """
        check_limit("bytes of numbers in memory", 8 * self._rows * len(indices), self.path)
        x = np.full((self._rows, len(indices)), np.nan)
        troubles: dict[int, Trouble] = {}
        notes: list[str] = []
        readable = []
        for place, i in enumerate(indices):
            kind = self._schema.field(i).type
            if is_numeric(self._arrow, kind):
                readable.append((place, i))
            else:
                time = any(word in str(kind) for word in ("timestamp", "date", "time"))
                troubles[i] = Trouble(f"{kind}{', a time' if time else ''}", "")
        for (place, _), column in zip(readable, self._columns([i for _, i in readable]), strict=True):
            x[:, place] = as_float64(self._arrow, column)
        if exact := [self.names[i] for _, i in readable if self._is_decimal(self._schema.field(i).type)]:
            notes.append(f"decimal numbers became float64 in {', '.join(exact[:6])}")
        return Loaded(x, troubles, tuple(notes))

    def column(self, index: int) -> Any:
        """One column, as Arrow has it."""
        check_limit("bytes of numbers in memory", 8 * self._rows, self.path)
        (column,) = self._columns([index])
        return column

    def words(self, index: int) -> list[str]:
        """One column as text."""
        column = self.column(index)
        return ["" if value is None else str(value) for value in column.to_pylist()]

    def _columns(self, indices: Sequence[int]) -> list[Any]:
        if not indices:
            return []
        stored = self._schema.names  # a column without a name, or two of one name, have other ones in self.names
        try:
            # pre_buffer=False keeps the memory at one column's pages.
            with self._parquet.ParquetFile(self.path) as file:
                table = file.read(columns=list(dict.fromkeys(stored[i] for i in indices)))
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise DataError(f"{self.path} cannot be read as Parquet: {error}") from error
        if table.num_rows != self._rows:
            raise DataError(f"{self.path} cannot be read as Parquet: it states {self._rows} rows and holds "
                            f"{table.num_rows}")  # fmt: skip
        places: dict[str, list[int]] = {}
        for place, name in enumerate(table.column_names):
            places.setdefault(name, []).append(place)
        return [table.column(places[stored[i]][stored[:i].count(stored[i])]) for i in indices]

    def _is_decimal(self, kind: Any) -> bool:
        return bool(self._arrow.types.is_decimal(kind))


def _index_of_pandas(metadata: Any, names: Sequence[str]) -> dict[str, str]:
    """Columns that pandas wrote as the index of its frame."""
    try:
        listed = json_value((metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, ValueError, TypeError):
        return {}
    # An index that counts is a dictionary, and has no column.
    return {name: "the index of a pandas frame" for name in listed if isinstance(name, str) and name in names}
