"""A backend that is replaced, visibly, where its device turns out not to be had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..errors import MissingDependency, ProviderUnavailable
from .base import Backend, Description

Result = TypeVar("Result")


class FallbackBackend:
    """The first backend until it says that its device is not to be had, then another one for every graph.

    Some engines know only when they load a graph that their device does not work: onnxruntime lists CUDA before it
    loads CUDA's libraries.
    """

    def __init__(
        self, first: Backend | ProviderUnavailable | MissingDependency, instead: Callable[[], Backend], name: str
    ) -> None:
        """Take over a backend that started, or the error of the start.

        Args:
            first: the backend of the device that was asked for, or why there is none.
            instead: opens the fallback. name: of the fallback's device.
        """
        self._instead, self._name = instead, name
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._first: Backend | None = None
        if isinstance(first, Exception):
            self._backend = self._replacement(first)
        else:
            self._backend = self._first = first

    @property
    def takes_gpu_rows(self) -> bool:
        """Whether the backend that runs now takes ``GpuRows``."""
        return bool(getattr(self._backend, "takes_gpu_rows", False))

    def _replacement(self, error: ProviderUnavailable | MissingDependency) -> Backend:
        problem = error.problem if isinstance(error, ProviderUnavailable) else str(error)
        backend = self._instead()
        self._reason = f"{problem}; running on {self._name}"
        return backend

    def _call(self, ask: Callable[[Backend], Result]) -> Result:
        backend = self._backend
        try:
            return ask(backend)
        except ProviderUnavailable as error:
            with self._lock:
                if self._backend is backend:
                    if self._reason is not None:
                        raise
                    self._backend = self._replacement(error)
        return ask(self._backend)

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; raises BackendError where the engine fails."""
        return self._call(lambda backend: backend.run(graph, feeds, outputs))

    def prepare(self, graph: str) -> None:
        """Load a graph now, so that its errors come now."""
        self._call(lambda backend: backend.prepare(graph))

    def describe(self) -> Description:
        """What runs the graphs, and where that is the fallback, why."""
        description = self._backend.describe()
        reasons = [reason for reason in (self._reason, description.degraded_reason) if reason]
        return replace(description, degraded_reason="; ".join(reasons) or None)

    def close(self) -> None:
        """Free both backends; idempotent. Calls that began on the first one may have run until now."""
        self._backend.close()
        if self._first is not None and self._first is not self._backend:
            self._first.close()
