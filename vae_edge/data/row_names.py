"""Names of rows that a file does not name: made where they are looked at, so that a mapped array stays on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from operator import eq
from typing import overload


class RowNumbers(Sequence[str]):
    """``0``, ``1``, ``2``, ...; with a window the first and the last row of each: ``0..19``.

    >>> list(RowNumbers(range(0, 5, 2), window=2))
    ['0..1', '2..3', '4..5']
    """

    def __init__(self, firsts: range, window: int | None = None) -> None:
        """Name the rows that begin at ``firsts``."""
        self._firsts, self._window = firsts, window

    def __len__(self) -> int:
        return len(self._firsts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> RowNumbers: ...

    def __getitem__(self, index: int | slice) -> str | RowNumbers:
        if isinstance(index, slice):
            return RowNumbers(self._firsts[index], self._window)
        first = self._firsts[index]
        return str(first) if self._window is None else f"{first}..{first + self._window - 1}"

    def __eq__(self, other: object) -> bool:
        """Whether ``other`` is a sequence of the same names."""
        return isinstance(other, Sequence) and len(other) == len(self) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def cut(self, window: int, stride: int) -> RowNumbers:
        """Names of windows over these rows."""
        return RowNumbers(self._firsts[: len(self) - window + 1 : stride], window)
