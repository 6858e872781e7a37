"""CSV files and JSON Lines as sources of a stream: to their end, or as they grow."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.cells import Cells, as_float
from vae_edge.data.header import find_delimiter, is_header, reader
from vae_edge.data.misfit import other_count
from vae_edge.data.options import TableOptions
from vae_edge.data.report import some
from vae_edge.data.text import is_comment
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows
from vae_edge_runtime.text import json_value

from .columns import Columns
from .times import Times

_CHUNK_BYTES = 1 << 18
_LONGEST_LINE = 1 << 24
POLL_S = 0.2
_MOST_NAMED = 64


class Parser(Protocol):
    """Numbered whole lines to a block of rows."""

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """``first`` is the number of the first line, from 1."""
        ...

    def restart(self) -> None:
        """The next line is the first of a file."""
        ...

    def state(self) -> dict[str, Any]:
        """What was learned of the lines so far, as plain values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what ``state`` says."""
        ...


class CsvLines:
    """Lines of a CSV file, with a header or without; delimiter and decimal mark are found as ``read`` finds them."""

    def __init__(
        self,
        where: str,
        *,
        names: Sequence[str],
        count: int,
        time_column: str | None,
        table: TableOptions | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        """``note`` is told which columns are left out, and of the first line that is."""
        self._where, self._names, self._count, self._time_column = where, names, count, time_column
        self._table, self._note = table or TableOptions(), note
        self._columns: Columns | None = None
        self._header: list[str] | None = None
        self._times = Times(where)
        self._said: set[str] = set()

    def restart(self) -> None:
        """A rotated file brings its own header. One of numbers is that of the file before, or a row."""
        self._columns = None

    def state(self) -> dict[str, Any]:
        """The columns, how cells are written, the header (empty: none), and whether times have begun."""
        columns = self._columns and self._columns.state()
        return {"columns": columns, "header": self._header, "timed": self._times.begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what ``state`` says."""
        self._times.begun = bool(state["timed"])
        if (header := state.get("header")) is not None:  # older states have none
            self._header = [str(name) for name in header]
        if (columns := state["columns"]) is not None:
            cells = Cells(self._where, columns["decimal"], self._table.missing)
            self._columns = Columns.of_state(columns, self._where, cells)

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """Parse lines; the first of a file may be its header."""
        if self._columns is not None and (rows := self._columns.plain_rows(lines, self._times)) is not None:
            return rows
        if self._columns is None:
            lines = ["" if first + i <= self._table.skip_lines else line for i, line in enumerate(lines)]
        lines = self._without_comments(first, lines)
        delimiter = self._columns.delimiter if self._columns else self._delimiter(lines)
        try:
            cells = [(first + i, row) for i, row in enumerate(reader(lines, delimiter))]
        except csv.Error as error:
            raise DataError(f"{self._where}, after line {first}: {error}") from error
        if len(cells) != len(lines):
            raise DataError(
                f"{self._where}, after line {first}: a quoted cell spans lines, which a stream cannot wait for"
            )
        cells = [(number, row) for number, row in cells if row]
        if self._columns is None and cells:
            header = [name.strip() for name in cells[0][1]]
            if self._is_header(header, [row for _, row in cells[1:]]):
                self._header, cells = header, cells[1:]
            else:
                self._header, header = [], self._unnamed(header)
            self._columns = Columns.of_header(
                header,
                self._where,
                names=self._names,
                count=self._count,
                time_column=self._time_column,
                delimiter=delimiter,
                cells=Cells(self._where, self._table.decimal, self._table.missing),
                drop=self._table.drop,
            )
            if self._columns.others and self._note is not None:
                self._note(left_out(self._where, self._columns.others))
        cells = self._without_headers(cells)
        return self._columns.rows(cells, self._times) if self._columns is not None and cells else None

    def _without_comments(self, first: int, lines: list[str]) -> list[str]:
        comments = [is_comment(line) for line in lines]
        if any(comments):
            self._say_once(first + comments.index(True), "begins with #")
        return ["" if comment else line for line, comment in zip(lines, comments, strict=True)]

    def _without_headers(self, cells: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """A logger that starts again in the same file writes its header again."""
        if not self._header:
            return cells
        rows = []
        for number, row in cells:
            if [cell.strip() for cell in row] == self._header:
                self._say_once(number, "repeats the header")
            else:
                rows.append((number, row))
        return rows

    def _say_once(self, line: int, what: str) -> None:
        if self._note is not None and what not in self._said:
            self._said.add(what)
            self._note(f"{self._where}: left out line {line} and every other that {what}")

    def _delimiter(self, lines: list[str]) -> str:
        return self._table.delimiter or find_delimiter([line for line in lines if line.strip()][:50], None)

    def _is_header(self, cells: list[str], rest: list[list[str]]) -> bool:
        if self._table.header is not None:
            return self._table.header
        known = Cells(self._where, self._table.decimal, self._table.missing)
        if self._header is not None and known.all_numbers(cells):
            return sorted(cells) == sorted(self._header)
        return is_header(cells, rest, self._where, known, self._names)

    def _unnamed(self, cells: list[str]) -> list[str]:
        if self._time_column is not None:
            raise DataError(f"{self._where} has no header, so none of its columns is called {self._time_column!r}")
        if len(cells) != self._count:
            raise DataError(other_count(self._where, len(cells), self._count, self._names))
        return list(self._names) or [f"column{i}" for i in range(len(cells))]


class JsonLines:
    """Lines of JSON: an object by the names of the features, or an array in their order; null is a missing cell."""

    def __init__(
        self,
        where: str,
        *,
        names: Sequence[str],
        count: int,
        time_column: str | None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        """Rows have times where the first has one; with ``time_column`` it must. ``note`` is told what is left out."""
        self._note, self._named, self._wanted = note, set[str](), {*names, time_column or "time"}
        self._where, self._names, self._count = where, names, count
        self._time, self._time_is_needed = time_column or "time", time_column is not None
        self._timed: bool | None = None
        self._times = Times(where)

    def restart(self) -> None:
        """No line depends on another."""

    def state(self) -> dict[str, Any]:
        """Whether rows have times."""
        return {"timed": self._timed, "begun": self._times.begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with what ``state`` says."""
        self._timed, self._times.begun = state["timed"], bool(state["begun"])

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """Parse lines; empty ones are passed over."""
        parsed = [self._row(first + i, line) for i, line in enumerate(lines) if line.strip()]
        if not parsed:
            return None
        cells, moments = [row for row, _ in parsed], [moment for _, moment in parsed]
        missing = np.array([[cell is None for cell in row] for row in cells])
        values = np.array([[math.nan if cell is None else as_float(cell) for cell in row] for row in cells])
        time: NDArray[np.float64] | None = None
        labels: tuple[str, ...] = ()
        if self._timed is None:
            self._timed = self._time_is_needed or moments[0] is not None
        if self._timed:
            time, labels = self._times(["" if moment is None else str(moment) for moment in moments])
        return Rows(values, time, labels, missing if missing.any() else None)

    def _row(self, number: int, line: str) -> tuple[list[float | None], Any]:
        where = f"{self._where} line {number}"
        try:
            item = json_value(line)
        except ValueError as error:
            raise DataError(f"{where} is no JSON: {error}") from error
        moment = None
        if isinstance(item, dict):
            if not self._names:
                raise DataError(f"{where} is an object, and the model's features have no names: write arrays")
            if absent := [name for name in self._names if name not in item]:
                raise DataError(f"{where} lacks {', '.join(absent)}; write null for a value that is missing")
            if not self._wanted >= item.keys():
                self._name_others(item)
            moment, item = item.get(self._time), [item[name] for name in self._names]
        if not isinstance(item, list) or len(item) != self._count:
            raise DataError(f"{where} holds no {self._count} values: write an array of them, or an object by name")
        if self._time_is_needed and self._timed is None and moment is None:
            raise DataError(f"{where} has no {self._time!r} for the time")
        for cell in item:
            if cell is not None and (isinstance(cell, bool) or not isinstance(cell, (int, float))):
                raise DataError(f"{where} holds {json.dumps(cell):.40}, which is no number")
        return item, moment

    def _name_others(self, item: Mapping[str, Any]) -> None:
        """Name keys that are left out, each once, and of endlessly many the first."""
        new = [key for key in item if key not in self._wanted and key not in self._named]
        if new and self._note is not None and len(self._named) < _MOST_NAMED:
            self._named.update(new)
            self._note(left_out(self._where, new))


def left_out(where: str, names: Sequence[str]) -> str:
    """The line that says which columns or keys of a source are not read."""
    return f"{where}: left out {some(names)}: no feature of the model"


def lines_of(file: BinaryIO, parse: Parser, where: str) -> Iterator[Rows]:
    """Blocks of a file or pipe to its end, as they come: a pipe's lines do not wait for more of them."""
    number, rest = 1, b""
    read = getattr(file, "read1", file.read)
    while chunk := read(_CHUNK_BYTES):
        number, rest, rows = parsed(parse, where, number, rest + chunk)
        if rows is not None:
            yield rows
    if rest:
        rows = parsed(parse, where, number, rest + b"\n")[2]
        if rows is not None:
            yield rows


def text_file(path: Path, parse: Parser) -> Iterator[Rows]:
    """Blocks of a file to its end.

    Raises:
        DataError: it cannot be read.
    """
    with _open(path) as file:
        yield from lines_of(file, parse, str(path))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def parsed(parse: Parser, where: str, number: int, raw: bytes) -> tuple[int, bytes, Rows | None]:
    """Parse the whole lines of ``raw``: (number of the next line, what is left of the last, rows)."""
    end = raw.rfind(b"\n") + 1
    if b"\0" in raw:
        raise DataError(
            f"{where}, after line {number}, holds zero bytes: a stream is text in UTF-8, such as UTF-16 is not"
        )
    if not end:
        if number == 1 and raw.count(b"\r") > 1:
            raise DataError(f"{where} ends its lines with CR alone: write LF, or use vae-edge score, which reads both")
        if len(raw) > _LONGEST_LINE:
            raise DataError(f"{where} line {number} is longer than {_LONGEST_LINE:,} bytes: it is no text of rows")
        return number, raw, None
    try:
        text = raw[:end].decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}, after line {number}, is no UTF-8 text: {error.reason}") from error
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]
    return number + len(lines), raw[end:], parse(number, lines)
