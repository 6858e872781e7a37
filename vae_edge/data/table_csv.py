"""CSV files of numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError


class CsvTable:
    """A CSV file with or without a header; without one the columns are column0, column1, ..."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                lines = [(reader.line_num, cells) for cells in reader if cells]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read as CSV: {error}") from error
        if not lines:
            raise DataError(f"{path} is empty")
        first = lines[0][1]
        has_header = any(_number(cell) is None for cell in first)
        self._path = path
        self.names = first if has_header else [f"column{i}" for i in range(len(first))]
        self._lines = lines[1:] if has_header else lines
        if not self._lines:
            raise DataError(f"{path} holds a header and no rows")
        for line, cells in self._lines:
            if len(cells) != len(first):
                raise DataError(f"{path} line {line} has {len(cells)} cells, the first has {len(first)}")

    def numbers(self, name: str) -> NDArray[Any]:
        """One column, (n,) float64; an empty cell is NaN.

        Raises:
            DataError: a cell is no number.
        """
        index = self.names.index(name)
        numbers = np.empty(len(self._lines), dtype=np.float64)
        for row, (line, cells) in enumerate(self._lines):
            number = _number(cells[index])
            if number is None:
                raise DataError(
                    f"{self._path} line {line}, column {name!r} holds {cells[index]!r:.40}, which is no number: "
                    f"name the numeric columns of {', '.join(self.names)}"
                )
            numbers[row] = number
        return numbers


def _number(cell: str) -> float | None:
    # float() also takes 1_000 and digits of other scripts, which no other reader of the file would.
    if not cell.strip():
        return np.nan
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None
