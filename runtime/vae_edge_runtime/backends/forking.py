"""A fork waits for the engine's calls: a child that is copied in the middle of one inherits locks that nobody opens.

Measured with OpenVINO 2026.4: beside a parent that computed, 3 of 5 children hung in a ``load`` of their own, and none
of 24 beside a parent that waited. With the gate none of 48 did.
"""

from __future__ import annotations

import os
import threading

from ..errors import BackendError

LONGEST_WAIT_S = 5.0


class ForkGate:
    """Around every call of an engine, as ``with gate:``; not one inside the other."""

    def __init__(self, engine: str, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        """Watch the forks of this process from now on.

        Args:
            engine: its name, for the message.
            longest_wait_s: a fork goes on after that, and its child is refused.
        """
        self._engine, self._longest_wait_s, self._torn = engine, longest_wait_s, False
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)

    def __enter__(self) -> None:
        """Begin a call.

        Raises:
            BackendError: this process was forked in the middle of one.
        """
        if self._torn:
            raise BackendError(
                f"this process was forked while {self._engine} computed in its parent, and would wait for ever: fork "
                "earlier, start processes by 'spawn', or pass isolate=True"
            )
        with self._changed:
            while self._forking:
                self._changed.wait()
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            if self._forking:
                self._changed.notify_all()

    def _begin(self) -> None:
        self._changed, self._running, self._forking = threading.Condition(threading.Lock()), 0, False

    def _before(self) -> None:
        self._changed.acquire()
        self._forking = True  # calls that come now wait, or one of two busy threads would always be inside
        self._changed.wait_for(lambda: not self._running, self._longest_wait_s)

    def _after(self) -> None:
        self._forking = False
        self._changed.notify_all()
        self._changed.release()

    def _in_child(self) -> None:
        self._torn = self._torn or self._running > 0
        self._begin()
