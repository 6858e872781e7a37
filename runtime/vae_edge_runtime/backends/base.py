"""What a backend is: how it is made, what it does, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

from numpy.typing import NDArray

from ..dependencies import require
from ..device.devices import Candidate, Device
from ..record import record

GraphBytes = Callable[[str], bytes]
"""Name of a graph to its verified ONNX bytes; called once per graph, when it is first needed."""

GraphFile = Callable[[str], AbstractContextManager[str | bytes]]
"""The same as the path of a file, there while the context is open, or as bytes."""


@record(frozen=True)
class DeviceOptions:
    """What a backend is made for.

    Attributes:
        device: the row of the table. candidate: the engine of it that this backend runs, and its mode.
        threads: of one run. spin: whether waiting threads keep their cores busy. None: the engine chooses.
        file: for an engine that can load a file; None: bytes only.
    """

    device: Device
    candidate: Candidate
    threads: int | None = None
    spin: bool | None = None
    file: GraphFile | None = None

    def import_engine(self) -> ModuleType:
        """Import the engine's package.

        Raises:
            MissingDependency: it is not installed.
        """
        engine = self.candidate.engine
        return require(engine.package, extra=engine.extra, why=f'device="{self.device.name}"')


@record(frozen=True)
class Description:
    """What really runs, read back from the engine after it loaded a graph.

    Attributes:
        threads, spin: as they were asked for; None where the engine chooses, or has no such setting.
        isolated: the engine runs in a process of its own.
    """

    backend: str
    engine_version: str
    provider: str
    device: str
    threads: int | None
    degraded_reason: str | None
    spin: bool | None = None
    isolated: bool = False


class Backend(Protocol):
    """Runs the graphs of one variant on one device. ``run`` may be called from many threads.

    A class in the table of devices is called with ``GraphBytes`` and ``DeviceOptions``. It raises
    ``MissingDependency`` or ``ProviderUnavailable`` where the device is not to be had here, and ``BackendError``
    where the engine fails.
    """

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
