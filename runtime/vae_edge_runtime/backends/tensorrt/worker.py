"""Long work in a thread of its own, while the calling thread hears Ctrl-C and tells how far the work is.

Python raises KeyboardInterrupt at the next bytecode of the main thread. While TensorRT builds, that is inside one of
its callbacks, where the exception is swallowed: 7 of 8 interrupts were lost with TensorRT RTX 1.7.1.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
Step = Callable[[str, int, int], None]
_LOOK_S = 0.1
"""How often the calling thread looks up: some systems deliver a signal only between two waits."""


def interruptible(work: Callable[[Step, threading.Event], Result], progress: Step | None) -> Result:
    """Run ``work(step, stop)`` in a thread, and wait for it.

    Args:
        work: calls ``step`` as it goes on, and ends soon after ``stop`` is set.
        progress: called in this thread for every step.

    Raises:
        KeyboardInterrupt: Ctrl-C; the work has ended. A second Ctrl-C does not wait for that.
        BaseException: whatever ``work`` or ``progress`` raised.
    """
    steps: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
    stop = threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(lambda *step: steps.put(step), stop))
        except BaseException as error:
            errors.append(error)
        finally:
            steps.put(None)

    thread = threading.Thread(target=run, name="vae-edge-tensorrt-build", daemon=True)
    try:
        thread.start()  # Ctrl-C may strike in here, too
        while (step := _next(steps)) is not None:
            if progress is not None and step != ():
                progress(*step)
    except BaseException:
        stop.set()
        while thread.is_alive():
            thread.join(_LOOK_S)
        raise
    thread.join()
    if errors:
        raise errors.pop()
    return results.pop()


def _next(steps: queue.SimpleQueue[tuple[str, int, int] | None]) -> tuple[str, int, int] | tuple[()] | None:
    """The next step, None at the end, or an empty tuple where nothing came for a moment."""
    try:
        return steps.get(timeout=_LOOK_S)
    except queue.Empty:
        return ()
