"""Cells of text to rows of a stream: which column is which feature, and which cells are empty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.cells import Cells
from vae_edge.data.misfit import first_line, lacking
from vae_edge.data.report import some
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows
from vae_edge_runtime.text import counted

from .times import Times


@dataclass(frozen=True)
class Columns:
    """Where the features lie in a line, and how its cells are written.

    Attributes:
        where: of the source, for messages.
        features: index of each. time: index of the time, or None. width: cells of a line.
        delimiter: between cells. cells: reads them, with the file's decimal mark.
        others: names of columns that are left out.
    """

    where: str
    features: tuple[int, ...]
    time: int | None
    width: int
    delimiter: str = ","
    cells: Cells = field(default_factory=lambda: Cells("", None))
    others: tuple[str, ...] = ()

    @classmethod
    def of_header(
        cls,
        header: Sequence[str],
        where: str,
        *,
        names: Sequence[str],
        count: int,
        time_column: str | None,
        delimiter: str,
        cells: Cells,
        drop: Sequence[str] = (),
    ) -> Columns:
        """Match a header with the names of the model, in any order; without names, with the number of features.

        Raises:
            DataError: a column is missing or there twice, or there are more or fewer than features.
        """
        header = [name.strip() for name in header]
        places = {name: i for i, name in reversed(list(enumerate(header)))}
        counts = Counter(header)
        if time_column is not None and time_column not in places:
            raise DataError(f"{where} has no column {time_column!r} for the time; it has {some(header, 40)}")
        wanted = list(names) or [name for name in header if name != time_column and name not in drop]
        if any(name not in places for name in wanted):
            raise DataError(f"{where} {lacking(wanted, header, count)}{first_line(header)}")
        if twice := [name for name in wanted if counts[name] > 1]:
            raise DataError(f"{where} names the column {twice[0]!r} twice")
        if len(wanted) != count:
            raise DataError(
                f"{where}: the model takes {counted(count, 'column')}; the rows have {len(wanted)}: name them "
                "in the order of the model with --columns"
            )
        time = None if time_column is None else places[time_column]
        taken = {*wanted, time_column}
        others = tuple(name for name in header if name not in taken)
        return cls(where, tuple(places[name] for name in wanted), time, len(header), delimiter, cells, others)

    def state(self) -> dict[str, Any]:
        """Plain values, as ``of_state`` takes them."""
        names = ("features", "time", "width", "delimiter", "others")
        return {name: getattr(self, name) for name in names} | {"decimal": self.cells.decimal}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], where: str, cells: Cells) -> Columns:
        """The columns that ``state`` was taken of.

        Raises:
            ValueError, KeyError, TypeError: it was taken of none.
        """
        features, others = tuple(map(int, state["features"])), tuple(map(str, state["others"]))
        time = None if state["time"] is None else int(state["time"])
        width, delimiter = int(state["width"]), state["delimiter"]
        if not all(0 <= column < width for column in (*features, *([] if time is None else [time]))):
            raise ValueError(f"a line of {width} cells does not have the columns")
        if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
            raise ValueError("the delimiter is no character")
        return cls(where, features, time, width, delimiter, cells, others)

    def plain_rows(self, lines: Sequence[str], times: Times) -> Rows | None:
        """A block of lines of one plain number per cell, several times as fast; None: ``rows`` must look closer."""
        if self.cells.decimal == ",":
            return None
        delimiters = self.width - 1
        if any(line.count(self.delimiter) != delimiters or '"' in line or not line for line in lines):
            return None
        at = self.time
        if at is None:
            cells = _numbers(lines, self.features, self.delimiter)
            return None if cells is None else Rows(cells)
        if (cells := _numbers(lines, (*self.features, at), self.delimiter)) is not None:
            return Rows(cells[:, :-1], times.of_seconds(cells[:, -1]))
        if (cells := _numbers(lines, self.features, self.delimiter)) is not None:
            return Rows(cells, *times([line.split(self.delimiter, at + 1)[at] for line in lines]))
        return None

    def rows(self, lines: Sequence[tuple[int, Sequence[str]]], times: Times) -> Rows:
        """A block of numbered lines of cells; an empty cell, NA or NULL is missing, ``nan`` is a NaN of the sensor.

        Raises:
            DataError: another number of cells, or a cell that is no number; the message names file and line.
        """
        for number, cells in lines:
            if len(cells) != self.width:
                raise DataError(
                    f"{self.where} line {number} has {counted(len(cells), 'cell')}, the first has {self.width}"
                )
        picked = [[cells[i] for i in self.features] for _, cells in lines]
        self.cells.learn([cell for row in picked for cell in row])
        missing = np.array(
            [[self.cells.is_missing(cell) and "nan" not in cell.lower() for cell in row] for row in picked]
        )
        values = np.full(missing.shape, np.nan)
        for i, j in zip(*np.nonzero(~missing), strict=True):
            cell = picked[i][j].strip()
            value = math.nan if self.cells.is_missing(cell) else self.cells.value(cell)
            if value is None:
                raise DataError(
                    f"{self.where} line {lines[i][0]} holds {picked[i][j]!r:.40} in column {self.features[j] + 1}, "
                    "which is no number"
                )
            values[i, j] = value
        at = self.time
        time, labels = (None, ()) if at is None else times([cells[at] for _, cells in lines])
        return Rows(values, time, labels, missing if missing.any() else None)


def _numbers(lines: Sequence[str], columns: tuple[int, ...], delimiter: str) -> NDArray[np.float64] | None:
    try:
        return np.loadtxt(lines, delimiter=delimiter, comments=None, usecols=columns, ndmin=2)
    except ValueError:
        return None
