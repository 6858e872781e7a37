"""CSV files and JSON Lines as sources of a stream: to their end, or as they grow."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows

from .columns import Columns, times_of

_CHUNK_BYTES = 1 << 18
_LONGEST_LINE = 1 << 24
POLL_S = 0.2


class Parser(Protocol):
    """Numbered whole lines to a block of rows."""

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """``first`` is the number of the first line, from 1."""
        ...

    def restart(self) -> None:
        """The next line is the first of a file."""
        ...


class CsvLines:
    """Lines of a CSV file, with a header or without."""

    def __init__(self, where: str, *, names: Sequence[str], count: int, time_column: str | None) -> None:
        self._where, self._names, self._count, self._time_column = where, names, count, time_column
        self._columns: Columns | None = None

    def restart(self) -> None:
        """A rotated file brings its own header."""
        self._columns = None

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """Parse lines; the first of a file may be its header."""
        try:
            cells = [(first + i, row) for i, row in enumerate(csv.reader(lines, strict=True))]
        except csv.Error as error:
            raise DataError(f"{self._where}, after line {first}: {error}") from error
        if len(cells) != len(lines):
            raise DataError(
                f"{self._where}, after line {first}: a quoted cell spans lines, which a stream cannot wait for"
            )
        cells = [(number, row) for number, row in cells if row]
        if self._columns is None and cells:
            header = cells[0][1]
            if any(_is_word(cell) for cell in header):
                cells = cells[1:]
            else:
                header = self._unnamed(header)
            self._columns = Columns.of_header(
                header, self._where, names=self._names, count=self._count, time_column=self._time_column
            )
        return self._columns.rows(cells) if self._columns is not None and cells else None

    def _unnamed(self, cells: list[str]) -> list[str]:
        if self._time_column is not None:
            raise DataError(f"{self._where} has no header, so none of its columns is called {self._time_column!r}")
        if len(cells) != self._count:
            raise DataError(f"{self._where} has {len(cells)} columns and no header; the model takes {self._count}")
        return list(self._names) or [f"column{i}" for i in range(len(cells))]


class JsonLines:
    """Lines of JSON: an object by the names of the features, or an array in their order; null is a missing cell."""

    def __init__(self, where: str, *, names: Sequence[str], count: int, time_column: str | None) -> None:
        self._where, self._names, self._count = where, names, count
        self._time = time_column or "time"

    def restart(self) -> None:
        """No line depends on another."""

    def __call__(self, first: int, lines: list[str]) -> Rows | None:
        """Parse lines; empty ones are passed over."""
        found = [self._row(first + i, line) for i, line in enumerate(lines) if line.strip()]
        if not found:
            return None
        cells = [row for row, _ in found]
        missing = np.array([[cell is None for cell in row] for row in cells])
        values = np.array([[np.nan if cell is None else cell for cell in row] for row in cells], dtype=np.float64)
        texts = tuple("" if moment is None else str(moment) for _, moment in found)
        time, labels = times_of(texts, self._where) if all(texts) else (None, ())
        return Rows(values, time, labels, missing if missing.any() else None)

    def _row(self, number: int, line: str) -> tuple[list[float | None], Any]:
        where = f"{self._where} line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is no JSON: {error}") from error
        moment = None
        if isinstance(item, dict):
            if not self._names:
                raise DataError(f"{where} is an object, and the model's features have no names: write arrays")
            if absent := [name for name in self._names if name not in item]:
                raise DataError(f"{where} lacks {', '.join(absent)}; write null for a value that is missing")
            moment, item = item.get(self._time), [item[name] for name in self._names]
        if not isinstance(item, list) or len(item) != self._count:
            raise DataError(f"{where} holds no {self._count} values: write an array of them, or an object by name")
        for cell in item:
            if cell is not None and (isinstance(cell, bool) or not isinstance(cell, (int, float))):
                raise DataError(f"{where} holds {json.dumps(cell):.40}, which is no number")
        return item, moment


def lines_of(file: BinaryIO, parse: Parser, where: str) -> Iterator[Rows]:
    """Blocks of a file or pipe to its end, as they come: a pipe's lines do not wait for more of them."""
    number, rest = 1, b""
    read = getattr(file, "read1", file.read)
    while chunk := read(_CHUNK_BYTES):
        number, rest, rows = _parsed(parse, where, number, rest + chunk)
        if rows is not None:
            yield rows
    if rest:
        rows = _parsed(parse, where, number, rest + b"\n")[2]
        if rows is not None:
            yield rows


class Followed:
    """A text file as it grows, like ``tail -F``: rotation and truncation begin it anew; None when nothing is new."""

    def __init__(self, path: Path, parse: Parser, *, poll_s: float = POLL_S) -> None:
        self._path, self._parse, self._poll_s = path, parse, poll_s
        self._closed = False

    def close(self) -> None:
        """End the iteration at the next look."""
        self._closed = True

    def __iter__(self) -> Iterator[Rows | None]:
        file = _open(self._path)
        number, rest = 1, b""
        try:
            while not self._closed:
                if chunk := file.read(_CHUNK_BYTES):
                    number, rest, rows = _parsed(self._parse, str(self._path), number, rest + chunk)
                    if rows is not None:
                        yield rows
                    continue
                if self._is_another(file):
                    file.close()
                    file = _open(self._path)
                    number, rest = 1, b""
                    self._parse.restart()
                    continue
                yield None
                time.sleep(self._poll_s)
        finally:
            file.close()

    def _is_another(self, file: BinaryIO) -> bool:
        """Whether the name now stands for another file, or the file was cut; absent: it is being rotated."""
        try:
            now = os.stat(self._path)  # noqa: PTH116 (beside fstat)
        except FileNotFoundError:
            return False
        mine = os.fstat(file.fileno())
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) or now.st_size < file.tell()


def csv_file(path: Path, parse: Parser) -> Iterator[Rows]:
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


def _parsed(parse: Parser, where: str, number: int, raw: bytes) -> tuple[int, bytes, Rows | None]:
    """Parse the whole lines of ``raw``: (number of the next line, what is left of the last, rows)."""
    end = raw.rfind(b"\n") + 1
    if not end:
        if len(raw) > _LONGEST_LINE:
            raise DataError(f"{where} line {number} is longer than {_LONGEST_LINE:,} bytes: it is no text of rows")
        return number, raw, None
    try:
        text = raw[:end].decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}, after line {number}, is no UTF-8 text: {error.reason}") from error
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]
    return number + len(lines), raw[end:], parse(number, lines)


def _is_word(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return True
    return False
