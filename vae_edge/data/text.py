"""Lines of a text file of numbers, whatever wrote it: encodings, ends of lines, comments."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from vae_edge_runtime.errors import DataError

from .files import check_regular, first_bytes, refuse_other_kind
from .limits import check_limit

_CHUNK_BYTES = 1 << 18
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_EXCEL_ERROR = re.compile(r"#(n/?a|div/0!|value!|ref!|num!|name\?|null!)", re.IGNORECASE)


def encoding_of(path: Path, wanted: str) -> tuple[str, str]:
    """The encoding of a text file, and what to say about it (empty for UTF-8).

    Raises:
        DataError: it is no regular file, or no text.
    """
    check_regular(path)
    head = first_bytes(path, 4096)
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name, "" if name.startswith("utf-8") else f"the text is {name.upper()}"
    refuse_other_kind(path, head, wanted)
    if b"\0" in head:
        # Text in UTF-16 without a mark has a zero in nearly every second byte.
        halves = (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2]))
        for name, zeros, letters in halves:
            if zeros.count(0) > 0.9 * len(zeros) and letters.count(0) == 0:
                return name, f"the text is {name.upper()} without a byte order mark"
        raise DataError(f"{path} holds zero bytes and is no text: save the table as {wanted} in UTF-8")
    for name, note in (("utf-8", ""), ("cp1252", "the text is no UTF-8: read as Windows-1252")):
        if _decodes(path, name):
            return name, note
    raise DataError(f"{path} is neither UTF-8 nor Windows-1252 text: save it as UTF-8")


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                # A file that goes on for ever in one line is refused by ``Lines``; here it must end too.
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return True


def is_comment(line: str) -> bool:
    """Whether a line begins with ``#``, but not with an error of a spreadsheet such as ``#N/A``."""
    return line.startswith("#") and _EXCEL_ERROR.match(line) is None


class Lines:
    """Lines with their ends as ``\\n``, without comments; counts lines as an editor does.

    Attributes:
        number: of the line that came last, from 1.
        comments: how many lines were left out because they begin with ``#``.
        last_comment: the last of them.
    """

    def __init__(self, path: Path, encoding: str, skip: int = 0) -> None:
        """``skip``: lines at the top that are no part of the table."""
        self._path, self._encoding, self._skip = path, encoding, skip
        self.number, self.comments, self.last_comment = 0, 0, ""

    def __iter__(self) -> Iterator[str]:
        try:
            for line in self._physical():
                self.number += 1
                if self.number <= self._skip:
                    continue
                if is_comment(line):
                    self.comments, self.last_comment = self.comments + 1, line
                    continue
                yield line
        except UnicodeDecodeError as error:
            raise DataError(f"{self._path}, after line {self.number}, is no {self._encoding} text: {error}") from error
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror or error}") from error

    def _physical(self) -> Iterator[str]:
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(self._encoding)(), translate=True)
        parts: list[str] = []
        length = 0
        with self._path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                first, *rest = decoder.decode(chunk).split("\n")
                parts.append(first)
                length += len(first)
                check_limit("bytes in a line", length, f"{self._path} line {self.number + 1}")
                if rest:
                    yield "".join(parts) + "\n"
                    yield from (line + "\n" for line in rest[:-1])
                    parts, length = [rest[-1]], len(rest[-1])
            parts.append(decoder.decode(b"", final=True))
        last = "".join(parts)
        if last:
            yield last
