"""Seconds per stage of an export, and a word to the caller as each starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Timer:
    """``with timer("trace"): ...``; ``seconds`` holds what was measured, by stage."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def say(self, text: str) -> None:
        """Tell the caller what goes on, without measuring it."""
        if self._progress:
            self._progress(text)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """One stage."""
        self.say(stage)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start
