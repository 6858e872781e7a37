"""Where events go: a file of whole lines that rotates and can be reopened, or stdout."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import OptionError, StorageError
from vae_edge_runtime.stdio import write
from vae_edge_runtime.text import json_value

_BEGINS = b'{"kind": '
_LONGEST_TAIL = 1 << 20


class Sink(Protocol):
    """Takes whole lines."""

    def append(self, line: str) -> None:
        """Give one line, with its newline, to whoever reads.

        Raises:
            StorageError: it could not be written, or nobody reads any more.
        """
        ...

    def mark(self) -> dict[str, Any] | None:
        """Where the next line will be, once everything before it is on the disk; None: nobody can look later."""
        ...

    def numbers_behind(self, mark: Mapping[str, Any] | None, stream: str) -> set[int]:
        """``seq`` of the events of a stream that were written behind a mark."""
        ...


class Stdout:
    """Lines for the reader of a pipe; what it has read cannot be known after a restart."""

    def append(self, line: str) -> None:
        """As ``Sink``."""
        if not write(sys.stdout, line):
            raise StorageError("nobody reads the events on stdout any more: start the reader again, or use -o")

    def mark(self) -> None:
        """There is no place in a pipe."""

    def numbers_behind(self, mark: Mapping[str, Any] | None, stream: str) -> set[int]:
        """Of none it is known."""
        return set()


class EventsFile:
    """A file that events are appended to; beyond ``rotate_bytes`` it becomes ``.1``, that ``.2``, and so on.

    Attributes:
        cut: bytes of a half-written last event that were cut off.
    """

    def __init__(self, path: Path, *, rotate_bytes: int | None = None, keep: int = 5) -> None:
        """Open it, and look that it holds events and nothing else.

        Raises:
            OptionError: it holds something else, or ``path`` is no path. OSError: it cannot be opened.
        """
        self._path, self._rotate_bytes, self._keep = path, rotate_bytes, keep
        self._reopen = False
        self.cut = 0
        self._file = self._opened()

    def _opened(self) -> io.FileIO:
        file = _opened_to_append(self._path)
        try:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self.cut = _cut_half_event(file, self._path)
        except BaseException:
            file.close()
            raise
        return file

    def reopen(self) -> None:
        """Open the name anew before the next line: another program has renamed the file. May be called by a signal."""
        self._reopen = True

    def append(self, line: str) -> None:
        """As ``Sink``."""
        try:
            if self._reopen:
                self._reopen = False  # first: a signal may ask again while the file is opened
                self._sync()
                self._go_on_with(self._opened())
            raw = line.encode()
            if self._rotate_bytes is not None and self._file.seekable():
                size = self._file.seek(0, os.SEEK_END)
                if size and size + len(raw) > self._rotate_bytes:
                    self._rotate()
            _append(self._file, raw)
        except OSError as error:
            raise _unwritten(self._path, error) from error

    def mark(self) -> dict[str, Any] | None:
        """As ``Sink``."""
        try:
            self._sync()
            status = os.fstat(self._file.fileno())
        except OSError as error:
            raise _unwritten(self._path, error) from error
        return {"device": status.st_dev, "inode": status.st_ino, "offset": status.st_size}

    def numbers_behind(self, mark: Mapping[str, Any] | None, stream: str) -> set[int]:
        """As ``Sink``; a file that was renamed in its folder is found, one that is gone holds none."""
        if mark is None:
            return set()
        numbers: set[int] = set()
        try:
            for name, offset in self._behind(mark):
                with name.open("rb") as file:
                    file.seek(offset)
                    for line in file:
                        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                            event = json_value(line, finite=True)
                            if event["stream"] == stream:
                                numbers.add(int(event["seq"]))
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read back ({error.strerror}): give it its rights") from error
        return numbers

    def close(self) -> None:
        """Close it; idempotent."""
        self._file.close()

    def _behind(self, mark: Mapping[str, Any]) -> list[tuple[Path, int]]:
        """The file of a mark and its place there, and files that were begun since, from their begin."""
        names = [self._path, *(self._numbered(n) for n in range(1, self._keep + 1))]
        younger: list[tuple[Path, int]] = []
        for name in names:
            if not name.is_file():
                continue
            if name.stat().st_ino == mark["inode"] and name.stat().st_size >= mark["offset"]:
                return [*younger, (name, int(mark["offset"]))]
            younger.append((name, 0))
        for other in self._path.parent.glob("*"):  # renamed by another program, to a name of its choice
            if other.is_file() and other.stat().st_ino == mark["inode"]:
                return [*younger, (other, int(mark["offset"]))]
        return younger

    def _numbered(self, n: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{n}")

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # a pipe or a terminal has nothing to keep
            if self._file.seekable():
                os.fsync(self._file.fileno())

    def _rotate(self) -> None:
        self._sync()
        if self._path.exists():  # a signal may have come behind the last of these lines
            free = next((n for n in range(1, self._keep) if not self._numbered(n).exists()), self._keep)
            for n in range(free, 1, -1):
                self._numbered(n - 1).replace(self._numbered(n))
            self._path.replace(self._numbered(1))
        self._go_on_with(_opened_to_append(self._path))

    def _go_on_with(self, file: io.FileIO) -> None:
        """A signal at any line leaves a file open to append to: this one, or the one before."""
        before, self._file = self._file, file
        before.close()


@checked
@contextlib.contextmanager
def appended(path: str | os.PathLike[str]) -> Iterator[tuple[Callable[[str], None], int]]:
    """How to append a line, and how many bytes of a half-written last event were cut off the file.

    Raises:
        OptionError: the file holds something else than events, or ``path`` is no path.
        StorageError: it could not be written; it ends with a whole line.
    """
    with events_file(path) as file:
        yield file.append, file.cut


@checked
@contextlib.contextmanager
def events_file(
    path: str | os.PathLike[str], *, rotate_bytes: int | None = None, keep: int = 5
) -> Iterator[EventsFile]:
    """A file of events, closed at the end.

    Raises:
        OptionError, StorageError: as ``appended``.
    """
    path = Path(path)
    try:
        file = EventsFile(path, rotate_bytes=rotate_bytes, keep=keep)
    except OSError as error:
        raise _unwritten(path, error) from error
    with contextlib.closing(file):
        yield file


def _opened_to_append(path: Path) -> io.FileIO:
    """A file, or a pipe that somebody reads: opened to read as well, a pipe would keep the events to itself."""
    if not path.exists() or path.is_file():
        return path.open("a+b", buffering=0)
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(descriptor, True)
    return io.FileIO(descriptor, "wb")


def _unwritten(path: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENXIO, errno.EPIPE):
        return StorageError(f"nobody reads the pipe {path}: start its reader first")
    return StorageError(f"{path} could not be written ({error.strerror or error}); it ends with a whole line")


def _append(file: io.FileIO, raw: bytes) -> None:
    end = file.seek(0, os.SEEK_END) if file.seekable() else 0
    try:
        if file.write(raw) != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):  # what is no regular file cannot be cut
            file.truncate(end)
        raise


def _cut_half_event(file: io.FileIO, path: Path) -> int:
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST_TAIL)
    file.seek(start)
    tail = file.read(size - start).rpartition(b"\n")[2]
    if tail[: len(_BEGINS)] != _BEGINS[: len(tail)]:
        raise OptionError(f"{path} ends with half a line that is no event: name another file for the events")
    file.seek(0)
    head = file.read(len(_BEGINS))
    if head != _BEGINS[: len(head)]:
        raise OptionError(f"{path} holds something else than events: name another file for the events")
    if not tail:
        return 0
    file.truncate(size - len(tail))
    return len(tail)
