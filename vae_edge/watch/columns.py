"""Cells of text to rows of a stream: which column is which feature, and which cells are empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows

from .times import Times, plain_number


@dataclass(frozen=True)
class Columns:
    """Where the features lie in a line.

    Attributes:
        where: of the source, for messages.
        features: index of each. time: index of the time, or None. width: cells of a line.
    """

    where: str
    features: tuple[int, ...]
    time: int | None
    width: int

    @classmethod
    def of_header(
        cls, header: Sequence[str], where: str, *, names: Sequence[str], count: int, time_column: str | None
    ) -> Columns:
        """Match a header with the names of the model, in any order; without names, with the number of features.

        Raises:
            DataError: a column is missing or there twice, or there are more or fewer than features.
        """
        header = [name.strip() for name in header]
        if time_column is not None and time_column not in header:
            raise DataError(f"{where} has no column {time_column!r} for the time; it has {', '.join(header)}")
        wanted = list(names) or [name for name in header if name != time_column]
        if absent := [name for name in wanted if name not in header]:
            raise DataError(f"{where} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
        if twice := [name for name in wanted if header.count(name) > 1]:
            raise DataError(f"{where} names the column {twice[0]!r} twice")
        if len(wanted) != count:
            raise DataError(
                f"{where} has {len(wanted)} columns of features, the model takes {count}: name them in the order of "
                "the model with --columns"
            )
        time = None if time_column is None else header.index(time_column)
        return cls(where, tuple(header.index(name) for name in wanted), time, len(header))

    def plain_rows(self, lines: Sequence[str], times: Times) -> Rows | None:
        """A block of lines of one plain number per cell, several times as fast; None: ``rows`` must look closer."""
        commas = self.width - 1
        if any(line.count(",") != commas or '"' in line or not line for line in lines):
            return None
        at = self.time
        if at is None:
            cells = _numbers(lines, self.features)
            return None if cells is None else Rows(cells)
        if (cells := _numbers(lines, (*self.features, at))) is not None:
            return Rows(cells[:, :-1], times.of_seconds(cells[:, -1]))
        if (cells := _numbers(lines, self.features)) is not None:
            return Rows(cells, *times([line.split(",", at + 1)[at] for line in lines]))
        return None

    def rows(self, lines: Sequence[tuple[int, Sequence[str]]], times: Times) -> Rows:
        """A block of numbered lines of cells; an empty cell is missing, ``nan`` is a NaN of the sensor.

        Raises:
            DataError: another number of cells, or a cell that is no number; the message names file and line.
        """
        for number, cells in lines:
            if len(cells) != self.width:
                raise DataError(f"{self.where} line {number} has {len(cells)} cells, the first has {self.width}")
        picked = [[cells[i] for i in self.features] for _, cells in lines]
        missing = np.array([[not cell.strip() for cell in row] for row in picked])
        values = np.full(missing.shape, np.nan)
        for i, j in zip(*np.nonzero(~missing), strict=True):
            try:
                values[i, j] = plain_number(picked[i][j])
            except ValueError:
                raise DataError(
                    f"{self.where} line {lines[i][0]} holds {picked[i][j]!r:.40} in column {self.features[j] + 1}, "
                    "which is no number"
                ) from None
        at = self.time
        time, labels = (None, ()) if at is None else times([cells[at] for _, cells in lines])
        return Rows(values, time, labels, missing if missing.any() else None)


def _numbers(lines: Sequence[str], columns: tuple[int, ...]) -> NDArray[np.float64] | None:
    try:
        return np.loadtxt(lines, delimiter=",", comments=None, usecols=columns, ndmin=2)
    except ValueError:
        return None
