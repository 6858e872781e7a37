"""What a backend is, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import OptionError

DEVICES = ("auto", "cpu", "cuda", "tensorrt")

GraphBytes = Callable[[str], bytes]
"""Name of a graph to its verified ONNX bytes; called once per graph, when it is first needed."""


@dataclass(frozen=True)
class Description:
    """What really runs, read back from the engine after it loaded a graph."""

    backend: str
    engine_version: str
    provider: str
    device: str
    threads: int | None
    degraded_reason: str | None


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


def open_backend(device: str, load: GraphBytes, *, allow_fallback: bool, threads: int | None) -> Backend:
    """Open the backend for a device.

    Raises:
        OptionError: the device or the number of threads is not a valid one.
        ProviderUnavailable: the device is not to be had and ``allow_fallback`` is False.
        MissingDependency: no engine is installed.
    """
    if device not in DEVICES:
        raise OptionError(f"device is {device!r}; valid are {', '.join(DEVICES)}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads is {threads!r}; pass a whole number from 1, or None for the engine's choice")
    from .ort import OrtBackend

    return OrtBackend(load, device=device, allow_fallback=allow_fallback, threads=threads)
