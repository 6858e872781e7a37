"""Cells of text to numbers: missing values, decimal commas, thousands separators, true and false."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError

MISSING = frozenset(
    ["", "na", "n/a", "n.a.", "nan", "-nan", "null", "none", "-", "--", "?", "\\n", "#n/a", "#na", "#div/0!", "#value!",
     "#ref!", "#num!", "#name?", "#null!", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind"]
)  # fmt: skip
"""Cells that stand for no value, in lower case."""
TRUTHS = {word: pair for pair in (("true", "false"), ("yes", "no"), ("on", "off")) for word in pair}
"""Words for 1 and 0, in lower case, to the pair they belong to: 1 first."""
_TIME = re.compile(r"\d{1,2}-[A-Za-z]{3}-\d{2,4}|\d{4}-\d\d?-\d\d?|\d{1,4}[./]\d{1,2}[./]\d{1,4}|\d{1,2}:\d\d")
_WITH_UNIT = re.compile(
    r"(?P<before>[^\d\s.,+-][^\d.,+-]{0,3}\s?)[+-]?\d+([.,]\d+)?|[+-]?\d+([.,]\d+)?(?P<after>\s?[^\d\s.,:/-][^\d]{0,8})"
)
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_GROUPS = {",": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3}){2,}"), ".": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3}){2,}")}
_DECIMAL = {
    ",": re.compile(rf"[+-]?([1-9]\d{{0,2}}([. \u00a0\u202f'\u2019]\d{{3}})+|\d*),\d*{_EXPONENT}"),
    ".": re.compile(rf"[+-]?([1-9]\d{{0,2}}([, \u00a0\u202f'\u2019]\d{{3}})+|\d*)\.\d*{_EXPONENT}"),
}
_THOUSANDS = {
    mark: re.compile(
        rf"([+-]?[1-9]\d{{0,2}})((?P<s>[{other} \u00a0\u202f'\u2019])\d{{3}}(?:(?P=s)\d{{3}})*)({mark2}\d*)?"
    )
    for mark, other, mark2 in ((".", ",", r"\."), (",", ".", ","))
}
_OTHER = {",": ".", ".": ","}


def is_missing(cell: str) -> bool:
    """Whether a cell stands for no value."""
    return cell.strip().lower() in MISSING


def as_float(number: float) -> float:
    """A number of JSON; a whole one of more than 308 digits is infinite, as 1e309 is."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def is_time(cell: str) -> bool:
    """Whether a cell begins like a date or a time."""
    return _TIME.match(cell.strip()) is not None


def unit_of(cell: str) -> str:
    """What stands before or after the number in a cell, such as % or a unit; empty where no number is in it."""
    match = _WITH_UNIT.fullmatch(cell.strip())
    return (match["before"] or match["after"]).strip() if match else ""


class Cells:
    """Reads the cells of one file, all with the same decimal mark.

    Attributes:
        decimal: the mark; None until a cell tells.
        thousands: whether a thousands separator was read.
    """

    def __init__(self, where: str, decimal: str | None, missing: Sequence[str] = ()) -> None:
        """``missing``: words that stand for no value, beside ``MISSING``."""
        self._where, self.decimal, self.thousands = where, decimal, False
        self._missing = MISSING.union(word.strip().lower() for word in missing)

    def is_missing(self, cell: str) -> bool:
        """Whether a cell stands for no value in this file."""
        return cell.strip().lower() in self._missing

    def all_numbers(self, cells: Sequence[str]) -> bool:
        """Whether each is a number or missing, so that they may be a row."""
        return all(self.number(cell) is not None or self.is_missing(cell) for cell in cells)

    def learn(self, cells: Sequence[str]) -> None:
        """Find the decimal mark in cells of all columns, before any of them is read.

        Raises:
            DataError: they contradict each other, or may be read both ways.
        """
        if self.decimal is not None:
            return
        marked = [cell.strip() for cell in cells if "," in cell]
        if not marked:
            # Without a comma anywhere a point is the decimal mark, unless it groups (1.234.567).
            if any(_GROUPS["."].fullmatch(cell.strip()) for cell in cells if cell.count(".") > 1):
                self.decimal = ","
            elif any("." in cell and number(cell) is not None for cell in cells):
                self.decimal = "."
            return
        marked += [cell.strip() for cell in cells if "." in cell and "," not in cell]
        proof = {mark: next((cell for cell in marked if self._tells(cell, mark)), None) for mark in _OTHER}
        if proof[","] is not None and proof["."] is not None:
            raise DataError(
                f"{self._where} holds {proof[',']!r:.40} and {proof['.']!r:.40}, with different decimal marks: "
                "say which it is with --decimal , or --decimal ."
            )
        if proof[","] is None and proof["."] is None:
            unclear = next((cell for cell in marked if _ONE_GROUP.fullmatch(cell) and "," in cell), None)
            if unclear is not None:
                raise DataError(
                    f"{self._where} holds {unclear!r:.40}, which is {unclear.replace(',', '')} or "
                    f"{unclear.replace(',', '.')}: say which with --decimal . or --decimal ,"
                )
            return
        self.decimal = "," if proof[","] is not None else "."

    @staticmethod
    def _tells(cell: str, mark: str) -> bool:
        """Whether a cell can only be read with this decimal mark."""
        if _GROUPS[_OTHER[mark]].fullmatch(cell):
            return True
        has_digit = any(c.isdigit() for c in cell)
        return (
            mark in cell
            and has_digit
            and _ONE_GROUP.fullmatch(cell) is None
            and _DECIMAL[mark].fullmatch(cell) is not None
        )

    def column(self, cells: Sequence[str]) -> tuple[NDArray[np.float64], int | None, tuple[str, str] | None]:
        """Cells of one column, (n,) float64 with NaN for a missing one.

        Returns:
            the values, the index of the first cell that is no number (None: all are), and the pair of words that
            stands for 1 and 0 in it. A word of another pair is no number.
        """
        text = "".join(cells)
        if text.isascii() and "_" not in text and "," not in text and self.decimal != ",":
            try:
                return np.fromiter(map(float, cells), np.float64, len(cells)), None, None
            except ValueError:
                pass
        values = np.full(len(cells), np.nan)
        words: tuple[str, str] | None = None
        for i, cell in enumerate(cells):
            plain = cell.strip()
            value = self.number(plain)
            if value is None and (pair := TRUTHS.get(plain.lower())) is not None and words in (None, pair):
                words, value = pair, float(plain.lower() == pair[0])
            if value is None and plain.lower() not in self._missing:
                return values, i, words
            values[i] = np.nan if value is None else value
        return values, None, words

    def value(self, cell: str) -> float | None:
        """The number that a cell is, 1 or 0 for a word such as true or off; None where it is none, or missing."""
        value = self.number(cell)
        if value is None and (pair := TRUTHS.get(cell.strip().lower())) is not None:
            return float(cell.strip().lower() == pair[0])
        return value

    def number(self, cell: str) -> float | None:
        """The number that a cell is with the file's decimal mark; None where it is none, or missing."""
        mark = self.decimal or "."
        cell = cell.replace("\u2212", "-")
        value = number(cell.replace(",", ".")) if mark == "," and "." not in cell else None
        if value is None and (mark == "." or ("." not in cell and "," not in cell)):
            value = number(cell)
        if value is None and (match := _THOUSANDS[mark].fullmatch(cell)):
            self.thousands = True
            value = float(match[1] + match[2].replace(match["s"], "") + (match[4] or "").replace(",", "."))
        return value


def number(cell: str) -> float | None:
    """The number that a cell is in the notation of most programs; None where it is none, or missing."""
    # float() also takes 1_000 and digits of other scripts, which no other reader of the file would.
    if "_" in cell or not cell.isascii() or is_missing(cell):
        return None
    try:
        return float(cell)
    except ValueError:
        return None
