"""Parquet files of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError


class ParquetTable:
    """A Parquet file; its columns of other types than numbers may be there, but not be used."""

    def __init__(self, path: Path) -> None:
        self._arrow = require("pyarrow", extra="parquet", why="reading Parquet")
        parquet = require("pyarrow.parquet", extra="parquet", why="reading Parquet")
        try:
            self._table = parquet.read_table(path)
            self.names: list[str] = self._table.column_names
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise DataError(f"{path} cannot be read as Parquet: {error}") from error
        if self._table.num_rows == 0:
            raise DataError(f"{path} holds no rows")
        self._path = path

    def numbers(self, name: str) -> NDArray[Any]:
        """One column, (n,) float64; null is NaN.

        Raises:
            DataError: the column holds no numbers.
        """
        column, types = self._table.column(name), self._arrow.types
        kind = column.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(
                f"{self._path} column {name!r} is {kind}: name the numeric columns of {', '.join(self.names)}"
            )
        # safe=False: an integer above 2^53 is rounded, as every float64 reader does.
        return np.asarray(column.cast(self._arrow.float64(), safe=False).to_numpy(), dtype=np.float64)
