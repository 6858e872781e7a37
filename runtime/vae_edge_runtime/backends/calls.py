"""The calls of one session, and what becomes of its engine when the process forks or ends.

A forked child has the objects of an engine and none of its threads: an engine that is destroyed there waits for them
for ever, or crashes. So a child keeps what it inherited. Measured with 4 threads: a child that ended, or loaded the
bundle anew in the place of the old session, died of a segmentation fault (ONNX Runtime) or hung (OpenVINO).

A daemon thread is killed when the interpreter ends, and in the middle of a call of an engine that aborts the process.
So the interpreter waits for the calls that run, and no other thread begins one after that.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import SessionClosed

if TYPE_CHECKING:
    from .base import Backend

LONGEST_WAIT_S = 5.0
"""Of an interpreter that ends, for calls that run in other threads."""


class Calls:
    """Counts the calls of a session, as ``with calls:``.

    Attributes:
        closed: no further call begins.
    """

    def __init__(self, backend: Backend) -> None:
        """``backend`` is kept for ever in a child of a fork."""
        self.closed = False
        self._backend, self._pid = backend, os.getpid()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running, self._last_thread = 0, 0
        _OPEN.add(self)
        _watch_the_process()

    def __enter__(self) -> None:
        """Begin a call, which ``close`` waits for.

        Raises:
            SessionClosed: after ``close``, or in a forked child.
        """
        if os.getpid() != self._pid:
            raise SessionClosed("this session belongs to the parent process: call load() again after a fork")
        with self._lock:
            if self.closed:
                raise SessionClosed("this session is closed: call load() again")
            self._running += 1
        if self._last_thread:
            self.pause()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            if self.closed or self._last_thread:
                self._idle.notify_all()

    def pause(self) -> None:
        """Between two runs of the engine: a thread goes no further where the interpreter ends in another."""
        if self._last_thread not in (0, threading.get_ident()):
            self.__exit__()
            threading.Event().wait()  # until the process has ended

    def close(self, free: Callable[[], None]) -> None:
        """Let no call begin, wait for those that run, and call ``free``; in a forked child do nothing."""
        if os.getpid() != self._pid:
            return  # the engine's threads live in the parent; nothing of ours to free here
        with self._idle:
            self.closed = True
            self._idle.wait_for(lambda: self._running == 0)
        free()

    def keep(self) -> None:
        """Let nothing destroy the engine, in a child of a fork."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._backend))

    def end(self) -> None:
        """Let no other thread begin a call, and wait for those that run, as the interpreter ends in this one."""
        if os.getpid() != self._pid:
            return  # a thread of the parent may have held the lock, and is not here to open it
        with self._idle:
            self._last_thread = threading.get_ident()
            self._idle.wait_for(lambda: self._running == 0, LONGEST_WAIT_S)


_OPEN: weakref.WeakSet[Calls] = weakref.WeakSet()
_watched = False


def _watch_the_process() -> None:
    """From the first session on: ``atexit`` runs what was registered last first, and an engine may end itself there."""
    global _watched
    if _watched:
        return
    _watched = True
    atexit.register(_end_all)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_keep_all)


def _keep_all() -> None:
    for calls in list(_OPEN):
        calls.keep()


def _end_all() -> None:
    for calls in list(_OPEN):
        calls.end()
