"""CSV and Parquet tables of numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime._require import require
from vae_edge_runtime.errors import DataError

from .dataset import Dataset, as_labels


def read_table(path: Path, columns: Sequence[str] | None, label_column: str | None) -> Dataset:
    """Rows (n, features) float32 of a table; an empty CSV cell is NaN.

    Raises:
        DataError: a column is absent or no number (name the numeric ones), or a cell is no number.
        MissingDependency: pyarrow is needed for Parquet.
    """
    names, cells = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    for wanted in [*(columns or ()), *([label_column] if label_column else [])]:
        if wanted not in names:
            raise DataError(f"{path} has no column {wanted!r}; it has {', '.join(names)}")
    used = list(columns) if columns is not None else [name for name in names if name != label_column]
    if not used:
        raise DataError(f"{path} leaves no column to use")
    x = np.stack([_numbers(cells[name], path, name, names) for name in used], axis=1)
    labels = None
    if label_column is not None:
        labels = as_labels(_numbers(cells[label_column], path, label_column, names), len(x), f"{path} [{label_column}]")
    return Dataset(x, "features", tuple(used), tuple(map(str, range(len(x)))), labels)


def _read_csv(path: Path) -> tuple[list[str], dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    if not lines:
        raise DataError(f"{path} is empty")
    has_header = any(_not_a_number(cell) for cell in lines[0])
    names = lines[0] if has_header else [f"column{i}" for i in range(len(lines[0]))]
    if len(set(names)) != len(names):
        raise DataError(f"{path} names a column twice: {', '.join(names)}")
    body = lines[1:] if has_header else lines
    if not body:
        raise DataError(f"{path} holds a header and no rows")
    for number, line in enumerate(body, start=2 if has_header else 1):
        if len(line) != len(names):
            raise DataError(f"{path} row {number} has {len(line)} cells, the first has {len(names)}")
    return names, {name: [line[i] for line in body] for i, name in enumerate(names)}


def _read_parquet(path: Path) -> tuple[list[str], dict[str, Any]]:
    parquet = require("pyarrow.parquet", extra="parquet", why="reading Parquet")
    arrow = require("pyarrow", extra="parquet", why="reading Parquet")
    try:
        table = parquet.read_table(path)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    if table.num_rows == 0:
        raise DataError(f"{path} holds no rows")
    return table.column_names, {name: table.column(name) for name in table.column_names}


def _numbers(cells: Any, path: Path, name: str, names: Sequence[str]) -> NDArray[np.float32]:
    if isinstance(cells, list):
        numbers = np.empty(len(cells), dtype=np.float32)
        for row, cell in enumerate(cells):
            try:
                numbers[row] = float(cell) if cell.strip() else np.nan
            except ValueError:
                raise DataError(
                    f"{path} column {name!r} holds {cell!r:.40} in data row {row + 1}, which is no number: "
                    f"name the numeric columns of {', '.join(names)}"
                ) from None
        return numbers
    import pyarrow

    kind = cells.type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)):
        raise DataError(f"{path} column {name!r} is {kind}: name the numeric columns of {', '.join(names)}")
    return np.asarray(cells.cast(pyarrow.float64()).to_numpy(), dtype=np.float32)


def _not_a_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return bool(cell.strip())
    return False
