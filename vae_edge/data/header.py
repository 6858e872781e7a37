"""What the first lines of a CSV file are: delimiter, names, units."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from vae_edge_runtime.errors import DataError

from .cells import Cells, is_missing, is_time, number

_SPECIAL = ("\t", ";", "|")
"""Delimiters that win over a comma: a comma inside such lines is a decimal mark."""
_MOST_UNIT_LINES = 2
_FEWEST_FOR_HEADER = 3
_FEWEST_IN_ORDER = 8
"""Cells from which on a first line in order, above lines that are not, is hardly a row: 2 of 40,320 rows by chance."""
_UNIT = re.compile(r"[^\W\d_]|[°%‰$€£]")


def find_delimiter(lines: Sequence[str], decimal: str | None) -> str:
    """The delimiter of the first lines of a table: one that cuts them into the same number of cells."""
    candidates: tuple[str, ...] = _SPECIAL if decimal == "," else (*_SPECIAL, ",")
    for delimiter in candidates:
        counts = [len(row) for row in cut(lines, delimiter) if row]
        if counts and counts[0] > 1 and all(abs(n - counts[0]) <= 1 for n in counts[:2]):
            return delimiter
    if all("," not in line and ";" not in line for line in lines):
        rows = cut(lines, " ")
        numbers = [all(number(cell) is not None or is_missing(cell) for cell in row) for row in rows]
        if len({len(row) for row, good in zip(rows, numbers, strict=True) if good}) == 1 and len(rows[-1]) > 1:
            return " "
    return ","


def cut(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Cells of lines; empty where the quotes do not close."""
    try:
        return list(reader(iter(lines), delimiter))
    except csv.Error:
        return []


def reader(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """A strict reader of lines."""
    spaces = delimiter == " "
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=spaces, strict=True)


def is_header(
    first: Sequence[str], rest: Sequence[Sequence[str]], path: object, cells: Cells, features: Sequence[str] = ()
) -> bool:
    """Whether the first cells are names: words, those of a model, or 0, 1, 2, ..., which pandas writes for none.

    Args:
        first: cells of the first line.
        rest: of the lines after it.
        path: for the message.
        cells: reads a cell as a number.
        features: names of the model's features; those of spectra are numbers.

    Raises:
        DataError: the cells are numbers that may be names or a row.
    """
    if features and {cell.strip() for cell in first}.issuperset(features):
        return True
    if not cells.all_numbers(first):
        return True
    values = [cells.number(cell) for cell in first]
    if first and first[0].strip() == "" and rest and rest[0][0].strip() != "":
        values = values[1:]  # the nameless column of an index
    if len(values) < 2 or any(value is None for value in values):
        return False
    numbers = [value for value in values if value is not None]
    plain = [cell.strip() for cell in first[-len(numbers) :]]
    if len(numbers) >= _FEWEST_FOR_HEADER and plain == [str(i) for i in range(len(numbers))]:
        return True
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    even = max(steps) - min(steps) <= 1e-9 * max(map(abs, numbers)) and steps[0] > 0
    what = ""
    if even and (len(numbers) >= _FEWEST_FOR_HEADER or plain == ["0", "1"]):
        what = "rises in even steps"
    elif _only_first_in_order(numbers, rest, cells):
        what = f"{'rises' if steps[0] > 0 else 'falls'} from cell to cell, as no other line does"
    if what:
        raise DataError(
            f"{path}: the first line ({', '.join(first[:6])}) {what}, so it may be names of columns or a row: say "
            "which with --header or --no-header"
        )
    return False


def _only_first_in_order(first: Sequence[float], rest: Sequence[Sequence[str]], cells: Cells) -> bool:
    """Whether the cells of the first line rise or fall, as wavelengths do, and those of no other line."""
    if len(first) < _FEWEST_IN_ORDER or not rest or not _in_order(first):
        return False
    return not any(_in_order([cells.number(cell) for cell in row[-len(first) :]]) for row in rest)


def _in_order(values: Sequence[float | None]) -> bool:
    numbers = [value for value in values if value is not None]
    pairs = list(itertools.pairwise(numbers))
    return len(numbers) == len(values) and (all(a < b for a, b in pairs) or all(a > b for a, b in pairs))


def count_unit_lines(rows: Sequence[Sequence[str]], cells: Cells) -> int:
    """How many lines after the header hold no number in any column where the line after them has one.

    Args:
        rows: the first lines after the header, as cells.
        cells: reads a cell as a number.
    """
    for count in range(_MOST_UNIT_LINES, 0, -1):
        if len(rows) > count and all(_are_units(row, rows[count], cells) for row in rows[:count]):
            return count
    return 0


def _are_units(row: Sequence[str], values: Sequence[str], cells: Cells) -> bool:
    if len(row) != len(values) or all(cells.is_missing(cell) for cell in row):
        return False
    numeric = [cells.number(value) is not None for value in values]
    words = [cells.number(cell) is None and not is_time(cell) and _UNIT.search(cell) is not None for cell in row]
    empty = [cells.is_missing(cell) for cell in row]
    words = [word and not nothing for word, nothing in zip(words, empty, strict=True)]
    return any(n and w for n, w in zip(numeric, words, strict=True)) and all(
        w or e for n, w, e in zip(numeric, words, empty, strict=True) if n
    )
