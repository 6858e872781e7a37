"""JSON Lines of numbers: an object by names or an array in each line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import counted, json_value

from .cells import as_float
from .limits import check_limit
from .options import TableOptions
from .table import Loaded, Trouble
from .text import Lines, encoding_of

_ROWS_AT_ONCE = 1 << 12


class JsonTable:
    """Lines of JSON; the first says which columns there are."""

    kind = "jsonl"

    def __init__(self, path: Path, options: TableOptions) -> None:
        """Read the first line.

        Raises:
            DataError: it is no object and no array, or the file is empty.
        """
        self.path = path
        self._encoding, note = encoding_of(path, "JSON Lines")
        self._notes = (note,) if note else ()
        self.index_columns: dict[str, str] = {}
        first = next(self._items(), None)
        if first is None:
            raise DataError(f"{path} is empty")
        self.has_header = isinstance(first[1], dict)
        self._keys = list(first[1]) if self.has_header else [f"column{i}" for i in range(len(first[1]))]
        self.names = list(self._keys)  # those without letters get other names
        self.header = "names from the keys of the first line" if self.has_header else "arrays without names"
        check_limit("columns", len(self.names), path)
        if not self.names:
            raise DataError(f"{path} line {first[0]} holds no value")

    def load(self, indices: Sequence[int]) -> Loaded:
        """Columns by their place.

        Raises:
            DataError: a line lacks a key, or has another number of values.
        """
        troubles: dict[int, Trouble] = {}
        blocks, rows = [], []
        for count, (number, item) in enumerate(self._items(), start=1):
            cells = self._cells(number, item)
            rows.append([self._value(number, i, cells[i], troubles) for i in indices])
            if len(rows) == _ROWS_AT_ONCE:
                blocks.append(np.array(rows, dtype=np.float64))
                rows = []
                check_limit("rows", count, self.path)
                check_limit("bytes of numbers in memory", 8 * count * len(indices), self.path)
        blocks.append(np.array(rows, dtype=np.float64).reshape(-1, len(indices)))
        return Loaded(np.concatenate(blocks), troubles, self._notes, self._left_out())

    def _left_out(self) -> tuple[tuple[str, str], ...]:
        counts = (self._source.comments, "they begin with #"), (self._empty_lines, "they are empty")
        return tuple((counted(count, "line"), reason) for count, reason in counts if count)

    def words(self, index: int) -> list[str]:
        """One column as text."""
        return [str(self._cells(number, item)[index]) for number, item in self._items()]

    def _items(self) -> Iterator[tuple[int, Any]]:
        source = self._source = Lines(self.path, self._encoding)
        self._empty_lines = 0
        for line in source:
            if not line.strip():
                self._empty_lines += 1
                continue
            try:
                item = json_value(line)
            except ValueError as error:
                raise DataError(f"{self.path} line {source.number} is no JSON: {error}") from error
            if not isinstance(item, (dict, list)):
                raise DataError(f"{self.path} line {source.number} is no object and no array: {line.strip()!r:.40}")
            yield source.number, item

    def _cells(self, number: int, item: Any) -> list[Any]:
        if isinstance(item, dict) != self.has_header or len(item) != len(self.names):
            raise DataError(
                f"{self.path} line {number} holds {counted(len(item), 'value')}, the first holds {len(self.names)}"
            )
        if not isinstance(item, dict):
            return list(item)
        if absent := [key for key in self._keys if key not in item]:
            raise DataError(f"{self.path} line {number} lacks {absent[0]!r}; write null for a value that is missing")
        return [item[key] for key in self._keys]

    @staticmethod
    def _value(number: int, index: int, cell: Any, troubles: dict[int, Trouble]) -> float:
        if cell is None:
            return math.nan
        if isinstance(cell, (int, float)):  # a bool is an int: 0 or 1
            return as_float(cell)
        text = cell if isinstance(cell, str) else json.dumps(cell)
        troubles.setdefault(index, Trouble(text, f"line {number}"))
        return math.nan
