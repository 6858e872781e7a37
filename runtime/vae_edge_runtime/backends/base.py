"""What a backend is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from ..record import record

GraphBytes = Callable[[str], bytes]
"""Name of a graph to its verified ONNX bytes; called once per graph, when it is first needed."""

GraphFile = Callable[[str], AbstractContextManager[str | bytes]]
"""The same as the path of a file, there while the context is open, or as bytes."""


@record(frozen=True)
class Description:
    """What really runs, read back from the engine after it loaded a graph.

    Attributes:
        threads, spin: as they were asked for; None where the engine chooses, or has no such setting.
    """

    backend: str
    engine_version: str
    provider: str
    device: str
    threads: int | None
    degraded_reason: str | None
    spin: bool | None = None


class Backend(Protocol):
    """Runs the graphs of one variant on one device. ``run`` may be called from many threads."""

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; only the named outputs come back, in that order."""
        ...

    def prepare(self, graph: str) -> None:
        """Load a graph now, so that its errors come now and not at the first run."""
        ...

    def describe(self) -> Description:
        """What runs the graphs."""
        ...

    def close(self) -> None:
        """Free the engine; idempotent."""
        ...
