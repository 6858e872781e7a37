"""CSV files of numbers, whatever program wrote them."""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import counted

from .cells import Cells
from .files import NoRows
from .header import count_unit_lines, find_delimiter, is_header, reader
from .limits import check_limit
from .misfit import first_line
from .options import TableOptions
from .report import some
from .table import Loaded, Trouble
from .text import Lines, encoding_of

_HEAD_LINES = 50
_MOST_FOOTER = 3
_FOOTER_AFTER = 5
"""A line is called a footer only after so many times as many rows."""
_SEPARATOR_LINE = re.compile(r"""("?)sep=(.)\1\s*""", re.IGNORECASE)
_CELLS_AT_ONCE = 1 << 20


class CsvTable:
    """A table as text; without a header the columns are called column0, column1, ..."""

    kind = "csv"
    second_header: tuple[int, tuple[str, ...]] | None = None

    def __init__(self, path: Path, options: TableOptions, features: Sequence[str] = ()) -> None:
        """Read the first lines, and find out what the table looks like; ``features`` are names of a model's.

        Raises:
            DataError: it is no table, or may be read in two ways; the message names the option that decides.
        """
        self.path, self._skip, self._footer = path, options.skip_lines, options.skip_footer
        self._delimiter_known = options.delimiter is not None
        self._encoding, note = encoding_of(path, "CSV")
        self.notes: list[str] = [note] if note else []
        self._cells = Cells(str(path), options.decimal, options.missing)
        head = list(itertools.islice((line for line in self._lines() if line.strip()), _HEAD_LINES))
        separator = _SEPARATOR_LINE.fullmatch(head[0]) if head else None
        self._separator_line = separator is not None
        if separator is not None:
            self.delimiter = options.delimiter or separator[2]
            head = head[1:]
        else:
            self.delimiter = options.delimiter or find_delimiter(head, options.decimal)
        numbered = list(itertools.islice(self._rows(), _HEAD_LINES))
        rows = [row for _, row in numbered]
        if not head or not rows:  # a quote that is closed at once is a line and no row
            raise DataError(f"{path} is empty")
        self._find_names(rows, options.header, features)
        if self._first_row > 1 and all(map(str.strip, rows[1])) and len(set(rows[1])) == len(rows[1]):
            self.second_header = (numbered[0][0], tuple(cell.strip() for cell in rows[1]))
        self.index_columns: dict[str, str] = {}
        self._repeated = 0
        check_limit("columns", len(self.names), path)

    def _find_names(self, rows: list[list[str]], header: bool | None, features: Sequence[str]) -> None:
        first, *rest = rows
        self._cells.learn([cell for row in rest or rows for cell in row])
        comment = self._comment_before(len(first))
        if header is not None:
            self.has_header = header
        elif comment and self._cells.all_numbers(first):
            self.has_header = False
        else:
            self.has_header = is_header(first, rest, self.path, self._cells, features)
        self._first_row = 0
        if not self.has_header and comment and header is None:
            self.names, self.header = comment, "names from the comment before the first row"
            self.has_header = True
        elif self.has_header:
            self.names, self.header, self._first_row = [cell.strip() for cell in first], "names from the first line", 1
            if not rest:
                raise NoRows(f"{self.path} holds a header and no rows{first_line(self.names)}")
            self._fit_names(rest[0])
            units = count_unit_lines(rest, self._cells)
            self._first_row += units
            for row in rest[:units]:
                self.notes.append(f"left out a line without numbers after the header, such as units: {some(row, 6)}")
        else:
            self.names, self.header = [f"column{i}" for i in range(len(first))], "no header"

    def _fit_names(self, row: Sequence[str]) -> None:
        """A header may lack the name of the first column (an index), and either may end with empty cells."""
        more = len(row) - len(self.names)
        if more == len(self.names) == 1 and self.delimiter == "," and not self._delimiter_known and row[0].strip():
            raise DataError(
                f"{self.path} has one name and two cells in a line ({','.join(row):.40}), as a decimal comma gives: "
                "say --delimiter ';' --decimal , for one column, or --delimiter , for two"
            )
        if more == 1 and row[-1].strip():
            self.names.insert(0, "")
        elif more < 0 and not any(self.names[more:]):
            del self.names[more:]

    def _comment_before(self, width: int) -> list[str]:
        """Names that numpy and others write behind ``#`` before the first row."""
        lines = self._lines()
        next((line for line in lines if line.strip()), None)
        text = self._source.last_comment.lstrip("# ").rstrip("\n")
        names = [name.strip() for name in (text.split() if self.delimiter == " " else text.split(self.delimiter))]
        return names if len(names) == width and len(set(names)) == width and all(names[1:]) else []

    def load(self, indices: Sequence[int]) -> Loaded:
        """Columns by their place.

        Raises:
            DataError: a line has another number of cells, or the table is above a limit. NoRows: there are none.
        """
        width = len(self.names)
        troubles: dict[int, Trouble] = {}
        first_bad: dict[int, int] = {}
        truths: dict[int, tuple[str, str]] = {}
        blocks: list[NDArray[Any]] = []
        count = empty_at_end = 0
        rows = self._body()
        while block := list(itertools.islice(rows, max(1, _CELLS_AT_ONCE // width))):
            for _, row in block:
                empty_at_end = 0 if row[0].strip() or any(map(str.strip, row)) else empty_at_end + 1
            count += len(block)
            check_limit("rows", count, self.path)
            check_limit("bytes of numbers in memory", 8 * count * len(indices), self.path)
            columns = list(zip(*(row for _, row in block), strict=True))
            self._cells.learn([cell for i in indices for cell in columns[i]] if self._cells.decimal is None else ())
            values = np.full((len(block), len(indices)), np.nan)
            for place, i in enumerate(indices):
                if i in troubles:
                    continue
                values[:, place], bad, words = self._cells.column(columns[i])
                if words and truths.setdefault(place, words) != words:
                    bad = next(at for at, cell in enumerate(columns[i]) if cell.strip().lower() in words)
                if bad is not None:
                    troubles[i] = Trouble(columns[i][bad], f"line {block[bad][0]}")
                    first_bad[i] = count - len(block) + bad
            blocks.append(values)
        if not blocks:
            where = f" before the last {self._footer} lines (--skip-footer)" if self._footer else ""
            raise NoRows(f"{self.path} holds no rows{where}")
        x = np.concatenate(blocks)
        empty = empty_at_end if width > 1 else 0
        for i, trouble in troubles.items():
            troubles[i] = trouble._replace(remedy=_footer_remedy(count - first_bad[i], count, empty))
        return self._loaded(x, indices, troubles, truths, empty)

    def _loaded(
        self,
        x: NDArray[Any],
        indices: Sequence[int],
        troubles: dict[int, Trouble],
        truths: dict[int, tuple[str, str]],
        empty: int,
    ) -> Loaded:
        for place, pair in sorted(truths.items()):
            i = indices[place]
            known = x[:, place][~np.isnan(x[:, place])]
            if i not in troubles and not np.isin(known, (0, 1)).all():
                troubles[i] = Trouble(f"{pair[0]} or {pair[1]} beside other numbers", "")
        notes = list(self.notes)
        for pair in dict.fromkeys(truths.values()):
            places = [place for place in sorted(truths) if truths[place] == pair and indices[place] not in troubles]
            if places:
                notes.append(f"{pair[0]} is 1 and {pair[1]} is 0 in {some([self.names[indices[p]] for p in places])}")
        if self._cells.decimal == ",":
            notes.append("the decimal mark is a comma")
        if self._cells.thousands:
            notes.append("thousands separators were taken out")
        if self.delimiter != ",":
            notes.append(f"the delimiter is {self.delimiter!r}")
        if self._spare:
            notes.append("empty cells after the last column were left out")
        left = [(f"{counted(empty, 'line')} at the end", "every cell is empty")] if empty else []
        if self._source.comments:
            left.append((counted(self._source.comments, "line"), "they begin with #"))
        if self._empty_lines:
            left.append((counted(self._empty_lines, "line"), "they are empty"))
        if self._repeated:
            left.append((counted(self._repeated, "line"), "they repeat the header"))
        if self._footer:
            left.append((f"{counted(self._footer, 'line')} at the end", "as --skip-footer says"))
        return Loaded(x[: len(x) - empty], troubles, tuple(notes), tuple(left))

    def words(self, index: int) -> list[str]:
        """One column as text, such as labels or classes."""
        rows = [(row[index].strip(), any(map(str.strip, row))) for _, row in self._body()]
        while rows and not rows[-1][1] and len(self.names) > 1:  # as ``load`` leaves out empty lines at the end
            rows.pop()
        return [cell for cell, _ in rows]

    def _lines(self) -> Iterator[str]:
        self._source = Lines(self.path, self._encoding, self._skip)
        return iter(self._source)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Numbered lines of cells, from the header on."""
        lines = self._lines()
        if self._separator_line:
            next(lines)
        self._empty_lines = 0
        try:
            for row in reader(lines, self.delimiter):
                if row and (len(row) > 1 or row[0].strip() or len(getattr(self, "names", ())) == 1):
                    yield self._source.number, row
                else:
                    self._empty_lines += 1
        except csv.Error as error:
            raise DataError(f"{self.path} line {self._source.number} cannot be read as CSV: {error}") from error

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        """The rows after the header, each as wide as the table."""
        width, self._spare, self._repeated = len(self.names), False, 0
        rows = self._without_footer(itertools.islice(self._rows(), self._first_row, None))
        count = 0
        for line, row in rows:
            if self._first_row and len(row) == width and [cell.strip() for cell in row] == self.names:
                self._repeated += 1
                continue
            if len(row) > width and not any(map(str.strip, row[width:])):
                del row[width:]
                self._spare = True
            if len(row) != width:
                after = sum(1 for _ in itertools.islice(rows, _MOST_FOOTER))
                raise DataError(self._ragged(line, row, _footer_remedy(1 + after, count + 1 + after, 0)))
            count += 1
            yield line, row

    def _without_footer(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        """All but the last lines, as many as the user said."""
        held: deque[tuple[int, list[str]]] = deque()
        for row in rows:
            held.append(row)
            if len(held) > self._footer:
                yield held.popleft()

    def _ragged(self, line: int, row: Sequence[str], footer: str) -> str:
        width = len(self.names)
        text = (
            f"{self.path} has lines of different lengths: line {line} has "
            f"{counted(len(row), 'cell')}, the first has {width}"
        )
        if self.delimiter == "," and len(row) == 2 * width and width > 1:
            return f"{text}: twice as many, as with decimal commas between commas; save it with ; or tab as delimiter"
        if footer:
            return f"{text}. {footer}"
        if len(row) > width and (not self._first_row or line <= _HEAD_LINES):
            begins = next(number for number, cells in self._rows() if len(cells) == len(row))
            return f"{text}: if lines stand before the table, leave them out with --skip-lines {begins - 1}"
        return f"{text}: the line was cut or lacks cells"


def _footer_remedy(lines: int, count: int, empty: int) -> str:
    """What to do about the last ``lines`` of ``count`` rows, if they look like no part of the table.

    Args:
        empty: lines of empty cells among them, at the end.
    """
    if lines - empty > _MOST_FOOTER or count < _FOOTER_AFTER * lines:
        return ""
    return f"Only the end of the table is so: if it is a sum or a remark, leave it out with --skip-footer {lines}"
