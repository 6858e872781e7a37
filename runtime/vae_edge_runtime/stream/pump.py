"""A live source, read by a thread of its own into a bounded queue: who comes too late is dropped, oldest first."""

from __future__ import annotations

import copy
import math
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np

from .rows import Rows


class Pump:
    """Iterates over a source that does not wait. Yields None after ``poll_s`` without a new item."""

    def __init__(self, source: Iterable[Any], queue_rows: int, *, poll_s: float, most_bytes: int | None = None) -> None:
        """``queue_rows``: how many rows may wait, ``most_bytes``: and how many bytes; a block beyond waits alone."""
        self._source, self._limit, self._poll_s = source, queue_rows, poll_s
        self._most_bytes = math.inf if most_bytes is None else most_bytes
        self._queue: deque[Any] = deque()
        self._waiting = self._bytes = self.dropped = 0
        self._lost = self.after_loss = False
        """``after_loss``: rows were dropped right before the item that was yielded last."""
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="vae-edge stream source", daemon=True)

    def _read(self) -> None:
        try:
            for item in self._source:
                if self._closed:
                    if isinstance(self._source, Generator):
                        self._source.close()  # ``close`` could not: it ran in this thread
                    return
                if item is not None and _count(item):
                    self._put(copy.deepcopy(item))  # the source may write the next row where this one lies
        except BaseException as error:  # it is raised where the stream is read
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _put(self, item: Any) -> None:
        with self._changed:
            self._queue.append(item)
            self._waiting += _count(item)
            self._bytes += _bytes(item)
            while (self._waiting > self._limit or self._bytes > self._most_bytes) and len(self._queue) > 1:
                self.dropped += _count(self._popped())
                self._lost = True
            self._changed.notify()

    def __iter__(self) -> Iterator[Any]:
        self._thread.start()
        while True:
            with self._changed:
                if not self._queue and not self._ended:
                    self._changed.wait(self._poll_s)
                if self._queue:
                    item = self._popped()
                    self.after_loss, self._lost = self._lost, False
                elif self._ended or self._closed:
                    break
                else:
                    item = None
            yield item
        if self._error is not None:
            raise self._error

    def first_waiting(self) -> Any:
        """The next item where one waits and nothing was dropped before it, else None; it stays in the queue."""
        with self._changed:
            return self._queue[0] if self._queue and not self._lost else None

    def take(self, item: Any) -> bool:
        """Take that item out of the queue; False where it was dropped meanwhile."""
        with self._changed:
            if self._lost or not self._queue or self._queue[0] is not item:
                return False
            self._popped()
            return True

    def _popped(self) -> Any:
        """The first item, no longer counted."""
        item = self._queue.popleft()
        self._waiting -= _count(item)
        self._bytes -= _bytes(item)
        return item

    def close(self) -> None:
        """Stop reading; a source with ``close`` is closed. The thread ends with the item it waits for."""
        self._closed = True
        close = getattr(self._source, "close", None)
        if close is not None:
            try:
                close()
            except ValueError:  # a generator that is running in the thread, which closes it
                return
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)


def _count(item: Any) -> int:
    # Values without an axis are refused with the row's number, where they are read.
    return len(item) if isinstance(item, Rows) and np.ndim(item.values) else 1


def _bytes(item: Any) -> int:
    """Of a block or an array; a row of another kind is small."""
    return int(getattr(item.values if isinstance(item, Rows) else item, "nbytes", 0))
