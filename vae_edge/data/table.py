"""What every kind of table gives: names, and columns as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from .cells import is_time, unit_of


class Trouble(NamedTuple):
    """Why a column holds no numbers: a cell or a type, and where; and what helps, where it is not the column."""

    cell: str
    place: str
    remedy: str = ""

    def said(self, name: str) -> str:
        """In words, without the file."""
        if not self.place:
            return f"column {name!r} is {self.cell}"
        if is_time(self.cell):
            kind = "a time and no number"
        elif unit := unit_of(self.cell):
            kind = f"a number with {unit!r:.20} beside it: write the number alone"
        else:
            kind = "which is no number (--missing if it means no value)"
        return f"{self.place}, column {name!r} holds {self.cell!r:.40}, {kind}"


@dataclass(frozen=True, eq=False)
class Loaded:
    """Columns of a table.

    Attributes:
        values: (n, columns) float64, NaN where a cell is missing.
        troubles: by place in the table, columns that hold no numbers; their values mean nothing.
        notes, rows_left_out: for the report.
    """

    values: NDArray[Any]
    troubles: dict[int, Trouble] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rows_left_out: tuple[tuple[str, str], ...] = ()


class Table(Protocol):
    """A table whose columns can be loaded.

    Attributes:
        names: of all columns; empty text for a column without a name.
        has_header, header: whether the file names its columns, and in words how.
        index_columns: columns that the file itself calls an index, with the reason to leave them out.
    """

    kind: str
    path: Path
    names: list[str]
    has_header: bool
    header: str
    index_columns: dict[str, str]

    def load(self, indices: Sequence[int]) -> Loaded:
        """Columns by their place."""
        ...

    def words(self, index: int) -> list[str]:
        """One column as text."""
        ...
