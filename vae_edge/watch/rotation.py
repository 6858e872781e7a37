"""Files that were rotated away: which of them follow the one that is being read, and which holds its rest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_ROTATED = re.compile(r"[.-]\d[\dTZ:_.-]*")
"""Behind the name of the file: ``.1`` and ``-20261128``, and not ``.gz`` or ``.bak``."""
_NUMBER = re.compile(r"\.(\d{1,5})")
_KNOWN_BY = 256
"""First bytes that tell a file from another one that got its inode."""
EDGE_BYTES = 4096
"""At the beginning of a file, and right before the place in it: that much is compared."""
_COPYING_S = 60.0
"""Longest time from the last change of a copy to the cut of the file that was copied."""
_TRIES = 100
_PAUSE_S = 0.005
"""Between two looks at files that are renamed meanwhile."""
_TICK_NS = 100_000_000
"""Longer than the clock of any file system stands still, but that of FAT, which has 2 s."""
_TRUSTED_S = 1.0
"""Longest time for which the time of a folder is believed: NFS keeps it for a while, and FAT rounds it."""


@dataclass(frozen=True)
class Place:
    """Where the next line begins, and how to recognise the file.

    Attributes:
        device, inode: of the file when it was read. offset: in bytes. line: its number, from 1.
        head, tail: SHA-256 of the first ``EDGE_BYTES`` and of those right before the offset, or of what there is.
    """

    device: int
    inode: int
    offset: int
    line: int
    head: str
    tail: str

    @classmethod
    def of_state(cls, plain: Mapping[str, Any]) -> Place:
        """A place as a state file has it.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        device, inode, offset, line = (_count(plain[name]) for name in ("device", "inode", "offset", "line"))
        return cls(device, inode, offset, line, str(plain["head"]), str(plain["tail"]))

    def is_in(self, file: BinaryIO) -> bool:
        """Whether a file holds what was read before this place."""
        if self.offset > os.fstat(file.fileno()).st_size:
            return False
        head, tail = edges(file, self.offset)
        return len(tail) == min(self.offset, EDGE_BYTES) and (digest(head), digest(tail)) == (self.head, self.tail)


@dataclass(frozen=True)
class Known:
    """A rotated file that needs no reading: it was there before, or has been read."""

    device: int
    inode: int
    size: int
    head: str

    @classmethod
    def of_state(cls, plain: Mapping[str, Any]) -> Known:
        """One as a state file has it; errors as of ``Place``."""
        device, inode, size = (_count(plain[name]) for name in ("device", "inode", "size"))
        if size > _KNOWN_BY:
            raise ValueError(f"{size} bytes tell no file; at most {_KNOWN_BY} are compared")
        return cls(device, inode, size, str(plain["head"]))


def _count(value: object) -> int:
    """A whole number that a file or its place can have."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r:.40} is no whole number from 0")
    return value


def digest(raw: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def edges(file: BinaryIO, offset: int) -> tuple[bytes, bytes]:
    """The first bytes before ``offset`` and the last ones, ``EDGE_BYTES`` each at most."""
    size = min(offset, EDGE_BYTES)
    file.seek(0)
    head = file.read(size)
    file.seek(offset - size)
    return head, file.read(size)


def rotated(path: Path) -> list[tuple[Path, int]]:
    """Files that were rotated away from ``path`` with their inodes, the oldest first.

    By number where all have one, else by the time of their last change. The folder is read until two looks agree:
    a rotation that renames meanwhile could show a file twice, or not at all.
    """
    before: list[tuple[str, int]] | None = None
    while (now := sorted(_siblings(path))) != before:
        before = now
    files = [(path.with_name(name), inode) for name, inode in now]
    numbers = [_NUMBER.fullmatch(file.name[len(path.name) :]) for file, _ in files]
    if all(numbers):
        order = {file: -int(number[1]) for (file, _), number in zip(files, numbers, strict=True) if number}
    else:
        order = {}
        for file, _ in files:
            with contextlib.suppress(OSError):
                order[file] = file.stat().st_mtime_ns
    return sorted((item for item in files if item[0] in order), key=lambda item: (order[item[0]], item[0].name))


class Beside:
    """Inodes of the files that were rotated away; the folder is read again only where something in it was renamed.

    Otherwise n files that wait to be read would cost n looks at n files.
    """

    def __init__(self, path: Path) -> None:
        """``path``: the followed file."""
        self._path = path
        self._inodes: frozenset[int] = frozenset()
        self._changed_ns, self._until_s = -1, 0.0

    def inodes(self) -> frozenset[int]:
        """Of now; the same object while nothing has changed."""
        try:
            changed_ns = os.stat(self._path.parent).st_mtime_ns  # noqa: PTH116
        except OSError:
            changed_ns = -1
        if changed_ns != self._changed_ns or time.monotonic() >= self._until_s:
            inodes = frozenset(inode for _, inode in rotated(self._path))
            if inodes != self._inodes:
                self._inodes = inodes
            # A second change within one tick of the clock of the file system would not be seen.
            settled = changed_ns >= 0 and time.time_ns() - changed_ns > _TICK_NS
            self._changed_ns, self._until_s = changed_ns, time.monotonic() + (_TRUSTED_S if settled else 0.0)
        return self._inodes


def _siblings(path: Path) -> Iterator[tuple[str, int]]:
    with os.scandir(path.parent) as entries:
        for entry in entries:
            behind = entry.name[len(path.name) :]
            if entry.name.startswith(path.name) and _ROTATED.fullmatch(behind):
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield entry.name, status.st_ino


def known(file: BinaryIO) -> Known:
    """How a rotated file is recognised later."""
    status = os.fstat(file.fileno())
    file.seek(0)
    head = file.read(_KNOWN_BY)
    return Known(status.st_dev, status.st_ino, len(head), digest(head))


def is_known(file: BinaryIO, among: Iterable[Known]) -> bool:
    """Whether a file is one of these, however it has grown since; an inode alone may be that of a new file."""
    return _is_among(file, _by_inode(among))


def _by_inode(known_ones: Iterable[Known]) -> dict[tuple[int, int], list[Known]]:
    listed: dict[tuple[int, int], list[Known]] = {}
    for one in known_ones:
        listed.setdefault((one.device, one.inode), []).append(one)
    return listed


def _is_among(file: BinaryIO, among: Mapping[tuple[int, int], list[Known]]) -> bool:
    status = os.fstat(file.fileno())
    for one in among.get((status.st_dev, status.st_ino), ()):
        file.seek(0)
        if digest(file.read(one.size)) == one.head:
            return True
    return False


@dataclass(frozen=True)
class Unread:
    """A file to read later: it is opened in its turn, so any number of them takes one descriptor.

    Attributes:
        path: its name when it was listed. known: how it is recognised under another name.
    """

    path: Path
    known: Known

    def open(self, followed: Path) -> BinaryIO | None:
        """The file wherever it lies now beside ``followed``; None: it was deleted, or cut.

        Raises:
            OSError: it cannot be opened. TimeoutError: it was renamed without a pause.
        """
        if (file := self._if_it_is(self.path)) is not None:
            return file
        for _ in range(_TRIES):
            names, last = rotated(followed), _inode(followed)
            for name in (*(name for name, inode in names if inode == self.known.inode), followed):
                if (file := self._if_it_is(name)) is not None:
                    return file
            if rotated(followed) == names and _inode(followed) == last:
                return None
            time.sleep(_PAUSE_S)
        raise _too_fast()

    def begins(self, file: BinaryIO) -> bool:
        """Whether a file begins with the bytes that this one began with, such as a copy of it."""
        file.seek(0)
        return digest(file.read(self.known.size)) == self.known.head

    def _if_it_is(self, path: Path) -> BinaryIO | None:
        file = open_file(path)
        if file is not None and not is_known(file, (self.known,)):
            file.close()
            return None
        return file


def unread(path: Path, read: Iterable[Known]) -> list[Unread]:
    """Files that were rotated away from ``path`` and are not among ``read``, the oldest first; then ``path``.

    Two of them are open at a time, however many there are.

    Raises:
        OSError: one of them cannot be opened. TimeoutError: they were renamed without a pause.
    """
    among = _by_inode(read)
    for _ in range(_TRIES):
        names = rotated(path)
        with contextlib.ExitStack() as opened:
            if (last := open_file(path)) is not None:
                opened.enter_context(last)
            inode_of_last = last and os.fstat(last.fileno()).st_ino
            files = _unread_of(names, among, last)
            # What was renamed between the two looks would be missing.
            if files is not None and rotated(path) == names and _inode(path) == inode_of_last:
                return files if last is None else [*files, Unread(path, known(last))]
        time.sleep(_PAUSE_S)
    raise _too_fast()


def _unread_of(
    names: list[tuple[Path, int]], read: Mapping[tuple[int, int], list[Known]], last: BinaryIO | None
) -> list[Unread] | None:
    """The unread ones of rotated files, without a copy of ``last`` that is not whole yet; None: they were renamed."""
    files = []
    for i, (name, inode) in enumerate(names):
        file = open_file(name)
        if file is None:
            return None
        with file:
            if os.fstat(file.fileno()).st_ino != inode:
                return None
            # Only the youngest may be a copy in the making; a sensor may write the same rows into all of them.
            if not (_is_among(file, read) or (i == len(names) - 1 and last is not None and _is_copy_of(file, last))):
                files.append(Unread(name, known(file)))
    return files


def _too_fast() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, "it is rotated faster than it can be read")


def _is_copy_of(file: BinaryIO, whole: BinaryIO) -> bool:
    """Whether a file is being copied from ``whole``, which is not cut yet; then its rows are read there.

    The time is that of the inode, which no program can set: a copy may have been given the time of its original.
    """
    status = os.fstat(file.fileno())
    if time.time() - status.st_ctime >= _COPYING_S or not 0 < status.st_size <= os.fstat(whole.fileno()).st_size:
        return False
    return edges(file, status.st_size) == edges(whole, status.st_size)


def _inode(path: Path) -> int | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino if stat.S_ISREG(status.st_mode) else None


def open_file(path: Path) -> BinaryIO | None:
    """A regular file without a buffer; None where there is none now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb", buffering=0)


def same_inode(folder: Path, place: Place) -> BinaryIO | None:
    """The file of a place by its inode, whatever it is called in that folder now, if it holds what was read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.inode() != place.inode:
                continue
            with contextlib.suppress(OSError):
                file = open_file(Path(entry.path))
                if file is not None and os.fstat(file.fileno()).st_dev == place.device and place.is_in(file):
                    return file
                if file is not None:
                    file.close()
    return None
