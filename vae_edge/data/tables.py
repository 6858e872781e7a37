"""CSV and Parquet tables: which columns become rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vae_edge_runtime.errors import DataError

from .dataset import Dataset, as_labels, to_float32


def read_table(path: Path, columns: Sequence[str] | None, label_column: str | None) -> Dataset:
    """Rows (n, features) float32 of a table; an empty CSV cell or a Parquet null is NaN.

    Raises:
        DataError: a column is absent or no number (name the numeric ones), or a cell is no number.
        MissingDependency: pyarrow is needed for Parquet.
    """
    if path.suffix.lower() == ".csv":
        from .table_csv import CsvTable as Table
    else:
        from .table_parquet import ParquetTable as Table  # type: ignore[assignment]
    table = Table(path)
    if len(set(table.names)) != len(table.names):
        raise DataError(f"{path} names a column twice: {', '.join(table.names)}")
    for wanted in [*(columns or ()), *([label_column] if label_column else [])]:
        if wanted not in table.names:
            raise DataError(f"{path} has no column {wanted!r}; it has {', '.join(table.names)}")
    used = list(columns) if columns is not None else [name for name in table.names if name != label_column]
    if not used:
        raise DataError(f"{path} leaves no column to use")
    x = np.stack([to_float32(table.numbers(name)) for name in used], axis=1)
    labels = None
    if label_column is not None:
        labels = as_labels(table.numbers(label_column), len(x), f"{path} [{label_column}]")
    return Dataset(x, "features", tuple(used), tuple(map(str, range(len(x)))), labels)
