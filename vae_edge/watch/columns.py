"""Cells of text to rows of a stream: which column is which feature, and which cells are empty."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows


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

    def rows(self, lines: Sequence[tuple[int, Sequence[str]]]) -> Rows:
        """A block of numbered lines of cells; an empty cell is missing, ``nan`` is a NaN of the sensor.

        Raises:
            DataError: another number of cells, or a cell that is no number; the message names file and line.
        """
        for number, cells in lines:
            if len(cells) != self.width:
                raise DataError(f"{self.where} line {number} has {len(cells)} cells, the first has {self.width}")
        picked = [[cells[i] for i in self.features] for _, cells in lines]
        try:
            values, missing = np.array([list(map(_quick_number, row)) for row in picked]), None
        except ValueError:
            values, missing = self._slowly(lines, picked)
        time: NDArray[np.float64] | None = None
        labels: tuple[str, ...] = ()
        if self.time is not None:
            at = self.time
            texts = tuple(cells[at].strip() for _, cells in lines)
            time, labels = times_of(texts, self.where)
        return Rows(values, time, labels, missing)

    def _slowly(
        self, lines: Sequence[tuple[int, Sequence[str]]], picked: list[list[str]]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
        missing = np.array([[not cell.strip() for cell in row] for row in picked])
        values = np.full(missing.shape, np.nan)
        for i, row in enumerate(picked):
            for j, cell in enumerate(row):
                if missing[i, j]:
                    continue
                try:
                    values[i, j] = _quick_number(cell)
                except ValueError:
                    raise DataError(
                        f"{self.where} line {lines[i][0]} holds {cell!r:.40} in column {self.features[j] + 1}, "
                        "which is no number"
                    ) from None
        return values, missing if missing.any() else None


def times_of(texts: tuple[str, ...], where: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Times as seconds, (n,) float64, and as they were written: numbers are seconds, else ISO 8601.

    A text that is neither is NaN: a time that is no number is a gap, not a reason to stop.

    Raises:
        DataError: the first of a block is neither, so that the column holds no times at all.
    """
    try:
        return np.array([float(text) for text in texts]), ()
    except ValueError:
        seconds = np.array([_iso_seconds(text) for text in texts])
    if np.isnan(seconds).all():
        raise DataError(f"{where} holds {texts[0]!r:.40} for a time: write seconds, or ISO 8601 (2026-01-31T12:00:00)")
    return seconds, texts


def _iso_seconds(text: str) -> float:
    try:
        # fromisoformat of Python 3.10 does not know Z.
        moment = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def _quick_number(cell: str) -> float:
    # float() also takes 1_000 and digits of other scripts, which no other reader of the file would.
    if "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return float(cell)
