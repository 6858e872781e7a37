"""The one way into TensorRT's bindings: whatever they raise becomes a BackendError, and nothing outlives an error.

Bindings report failure in four ways: None, False, -1, and exceptions of pybind11 that name no cause. The cause
is in the log. Objects that a traceback still holds are freed when somebody forgets the error, long after the
engine was closed, so the frames of a failed call are emptied at once.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from ...errors import BackendError, VaeEdgeError
from .binding import Log

P = ParamSpec("P")
Result = TypeVar("Result")
_NULL = "nullptr"
_OLD_DRIVER = (
    ". TensorRT gave a null pointer: the driver is usually older than the CUDA that TensorRT was made for (error 35). "
    "Update the driver; in a container take an image that is not newer than its host"
)


class Calls:
    """Calls of TensorRT for one graph, with the log that says why they fail."""

    def __init__(self, log: Log, graph: str) -> None:
        self.log, self.graph = log, graph

    @contextlib.contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Around one call; ``doing`` continues ``TensorRT failed``.

        Raises:
            BackendError: the bindings raised; with what the log said last.
        """
        try:
            yield
        except VaeEdgeError:
            raise
        except Exception as error:
            hint = _OLD_DRIVER if _NULL in str(error) else ""
            raise BackendError(
                f"TensorRT failed {doing} for graph '{self.graph}' ({type(error).__name__}: {error}): "
                f"{self.log.last}{hint}"
            ) from error

    def must(self, done: object, doing: str) -> None:
        """Refuse the None, False or -1 that a call gave; ``doing`` as above.

        Raises:
            BackendError: with what the log said last.
        """
        if done is None or done is False or (type(done) is int and done < 0):
            raise BackendError(f"TensorRT failed {doing} for graph '{self.graph}': {self.log.last}")


def releases_on_error(function: Callable[P, Result]) -> Callable[P, Result]:
    """Empty the frames of a call that raises, so that no traceback keeps objects of TensorRT alive."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> Result:
        try:
            return function(*arguments, **options)
        except BaseException as error:
            _forget(error)
            raise

    return call


def _forget(error: BaseException) -> None:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)  # leaves frames that still run
        waiting += [one.__cause__, one.__context__]
