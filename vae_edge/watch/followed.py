"""A text file as it grows, over rotation and restarts: every line once, and what is missing is said."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.stream import Rows

from .rotation import (
    EDGE_BYTES,
    Beside,
    Known,
    Place,
    Unread,
    digest,
    edges,
    known,
    open_file,
    rotated,
    same_inode,
    unread,
)
from .text_files import POLL_S, Parser, parsed

_CHUNK_BYTES = 1 << 16
"""Read at once: rows are decided and put on record in pieces of that size."""
_TELLING = 256
"""Bytes right before the next ones that must be there still; fewer may be a header, and a new file has that too."""


class Followed:
    """A text file like ``tail -F``, also where it is not there yet; None when nothing is new.

    A file that is renamed is read to its end, then those that came between, then the new one. Where a file was
    copied and cut instead, the copy is read on first. A half line at the end of a rotated file is no row.

    Attributes:
        lost: in words, what ``position`` promised and is gone; empty: nothing.
    """

    def __init__(
        self,
        path: Path,
        parse: Parser,
        *,
        forever: bool = True,
        poll_s: float = POLL_S,
        note: Callable[[str], None] | None = None,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin at the first line, or go on behind ``position``.

        Args:
            path: to read; others beside it are read where they were rotated away from it.
            parse: lines to rows.
            forever: go on where the file ends.
            poll_s: seconds from one look to the next.
            note: is told what a person should know.
            position: of ``position``, as another process left it.

        Raises:
            DataError: ``position`` is none, or not ``forever`` and the file is another one than then.
        """
        self._path, self._parse, self._forever, self._poll_s = path, parse, forever, poll_s
        self._note = note or (lambda _text: None)
        self._file: BinaryIO | None = None
        self._queue: deque[tuple[Unread, bool]] = deque()  # files that follow, and whether one goes on mid-way
        self._offset, self._line, self._rest = 0, 1, b""
        self._head = self._tail = b""
        self._known: dict[Known, None] = {}
        self._folder = Beside(path)
        self._beside: frozenset[int] = frozenset()
        self._pruned: frozenset[int] | None = None
        self._final: dict[str, Any] | None = None
        self._closed = self._begun = self._waiting = self._cut = False
        self.lost = ""
        if position is None:
            self._known = self._rotated_now()
        else:
            self._resume(position)

    def close(self) -> None:
        """End the iteration at the next look; where it has not begun, close the file now."""
        self._closed = True
        if not self._begun and self._file is not None:
            self._file.close()

    def position(self) -> dict[str, Any]:
        """Where the next line begins; between two blocks it is behind all rows that were given."""
        if self._final is not None:
            return self._final
        return {
            "place": None if self._file is None else asdict(self._place(self._file)),
            "known": [asdict(one) for one in self._known],
            "parser": self._parse.state(),
        }

    def _place(self, file: BinaryIO) -> Place:
        size = min(self._offset, EDGE_BYTES)
        tail = self._tail[: len(self._tail) - len(self._rest)][-size:] if size else b""
        status = os.fstat(file.fileno())
        return Place(status.st_dev, status.st_ino, self._offset, self._line, digest(self._head[:size]), digest(tail))

    def _resume(self, position: Mapping[str, Any]) -> None:
        try:
            self._known = dict.fromkeys(Known.of_state(one) for one in position["known"])
            place = None if position["place"] is None else Place.of_state(position["place"])
            self._parse.restore(position["parser"])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"the place in {self._path} cannot be read from the state: {error}") from error
        if place is None or not place.offset:
            self._queue.extend((file, False) for file in self._following())
            return
        file = same_inode(self._path.parent, place)
        if file is not None and self._was_copied(file):
            file.close()
            file = None
        self._beside = frozenset()  # nothing was read yet: a copy that is in the making now will be asked about again
        if file is None:
            copy, following = self._copy_with(place)
            file = None if copy is None else self._opened(copy)
            if file is not None:
                self._queue.extend((each, False) for each in following)
        if file is not None:
            self._begin(file)
            self._offset, self._line = place.offset, place.line
            self._head, self._tail = edges(file, place.offset)
            return
        gone = f"{self._path} was read up to byte {place.offset:,}, and no file holds those bytes now"
        if not self._forever:
            raise DataError(f"{gone}: it is another file. Name another state, or give the file back")
        self.lost = f"{gone}: rows that came behind them may be missing"
        self._parse.restart()
        self._queue.extend((each, False) for each in self._following())

    def __iter__(self) -> Iterator[Rows | None]:
        self._begun = True
        try:
            while not self._closed:
                if self._file is None:
                    if not self._turn():
                        if not self._forever:
                            raise DataError(f"{self._path} is not there")
                        yield None
                        time.sleep(self._poll_s)
                    continue
                raw = self._more()
                if raw:
                    rows = self._take(raw)
                    if rows is not None:
                        yield rows
                elif not self._forever:
                    if self._rest and (rows := self._take(b"\n", written=False)) is not None:
                        yield rows
                    return
                elif raw is None or not self._turn():
                    yield None
                    time.sleep(self._poll_s)
        finally:
            self._final = self.position()
            if self._file is not None:
                self._file.close()

    def _more(self) -> bytes | None:
        """New bytes; none where there are none; None where the file was cut, and what follows is queued."""
        assert self._file is not None
        if self._cut and self._queue:  # what the file holds now comes in its turn
            return b""
        behind = self._tail[-_TELLING:]
        at = self._offset + len(self._rest)
        self._file.seek(at - len(behind))
        raw = self._file.read(len(behind) + _CHUNK_BYTES) or b""
        if raw[: len(behind)] == behind and not (raw and self._offset < _TELLING and self._was_copied(self._file)):
            return raw[len(behind) :]
        if self._queue:  # it was cut behind us, and we know what follows
            return b""
        self._was_cut()
        return None

    def _was_copied(self, file: BinaryIO) -> bool:
        """Whether a file that still has its name was copied away and cut since: a copy that nobody has read lies there.

        Its first bytes alone would not tell, where they are a header.
        """
        beside = self._folder.inodes()
        mine = os.fstat(file.fileno()).st_ino
        if not beside or beside is self._beside or mine in beside:
            return False
        if not self._path.exists() or self._path.stat().st_ino != mine:
            return False
        self._beside = beside
        return len(self._following()) > 1

    def _take(self, raw: bytes, *, written: bool = True) -> Rows | None:
        """Rows of the whole lines; ``written``: the bytes are in the file."""
        line, rest, rows = parsed(self._parse, str(self._path), self._line, self._rest + raw)
        if written and len(self._head) < EDGE_BYTES:
            self._head = (self._head + raw)[:EDGE_BYTES]
        if written:
            self._tail = (self._tail + raw)[-EDGE_BYTES - len(rest) :]
        self._offset += len(self._rest) + len(raw) * written - len(rest)
        self._line, self._rest = line, rest
        return rows

    def _leave(self) -> None:
        """Close the file, which needs no reading any more wherever it lies."""
        if self._file is not None:
            if (still_there := self._folder.inodes()) is not self._pruned:
                self._pruned = still_there
                self._known = {one: None for one in self._known if one.inode in still_there}
            if not self._cut:  # what was cut is a new file with an old inode
                left = known(self._file)
                self._known.pop(left, None)
                self._known[left] = None
            self._file.close()
            self._file, self._cut = None, False

    def _begin(self, file: BinaryIO) -> None:
        self._leave()
        self._file, self._waiting = file, False
        self._offset, self._line, self._rest = 0, 1, b""
        self._head = self._tail = b""

    def _turn(self) -> bool:
        """Whether to read on: the file was read to its end, or there is none yet."""
        if self._file is None or self._queue:
            if not self._queue:
                self._queue.extend((file, False) for file in self._following())
            if not self._queue:
                if not self._waiting:
                    self._note(f"waiting for {self._path}")
                    self._waiting = True
                return False
            following, goes_on = self._queue.popleft()
            file = self._opened(following)
            if file is None:
                self._look_again(following)
            elif goes_on:
                self._leave()
                self._file = file
                self._tail, self._rest = self._tail[: len(self._tail) - len(self._rest)], b""  # it is read again
            else:
                self._begin(file)
                self._parse.restart()
            return True
        if self._is_another():
            self._queue.extend((file, False) for file in self._following(but=self._file))
        return bool(self._queue)  # first the old file is read once more, to its end

    def _is_another(self) -> bool:
        """Whether the name stands for another file; one that is still empty does not count.

        Until its first byte the writer may end the old one.
        """
        assert self._file is not None
        try:
            now, mine = os.stat(self._path), os.fstat(self._file.fileno())  # noqa: PTH116 (beside fstat)
        except FileNotFoundError:  # it is being rotated
            return False
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from error
        return (now.st_ino, now.st_dev) != (mine.st_ino, mine.st_dev) and now.st_size > 0

    def _was_cut(self) -> None:
        """Queue the copy that holds what was cut off, and what follows it."""
        assert self._file is not None
        self._cut = True
        copy, following = self._copy_with(self._place(self._file))
        if copy is not None:
            self._queue.append((copy, True))
        self._queue.extend((file, False) for file in following)
        if copy is None and not following:  # the name stands for no file now: wait for it
            self._leave()

    def _rotated_now(self) -> dict[Known, None]:
        listed: dict[Known, None] = {}
        for name, _ in rotated(self._path):
            if (file := open_file(name)) is not None:
                listed[known(file)] = None
                file.close()
        return listed

    def _copy_with(self, place: Place) -> tuple[Unread | None, list[Unread]]:
        """The file that holds what was read, such as a copy, and the files behind it; None: all that are unread."""
        files = self._following()
        for i, each in enumerate(files):
            file = self._opened(each) if place.offset else None
            if file is not None:
                with file:
                    if place.is_in(file):
                        return each, files[i + 1 :]
        return None, files

    def _opened(self, following: Unread) -> BinaryIO | None:
        try:
            return following.open(self._path)
        except OSError as error:
            raise DataError(f"{following.path} cannot be read: {error.strerror}") from error

    def _look_again(self, first: Unread) -> None:
        """Queue anew what is unread, and name what was deleted: the first of the queue is not there any more."""
        awaited = [first, *(each for each, _ in self._queue)]
        self._queue.clear()
        self._leave()
        files = self._following()
        self._queue.extend((each, False) for each in files)
        there = {each.known for each in files}
        for each in awaited:
            if each.known not in there and each.known.size and not self._has_copy(each, files):
                self._note(f"{each.path} was deleted before it was read: its rows are missing")

    def _has_copy(self, cut: Unread, files: list[Unread]) -> bool:
        for each in files:
            if (file := self._opened(each)) is not None:
                with file:
                    if cut.begins(file):
                        return True
        return False

    def _following(self, but: BinaryIO | None = None) -> list[Unread]:
        """Rotated files that were not read, the oldest first, then the one that has the name itself."""
        try:
            return unread(self._path, self._known if but is None else (*self._known, known(but)))
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from error
