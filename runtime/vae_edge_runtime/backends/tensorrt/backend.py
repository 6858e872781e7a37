"""TensorRT itself: engines from this device's store, run by ``trt.Executor``."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from numpy.typing import NDArray

from ..base import Description, GraphBytes
from . import BuildOptions, Driver, EngineStore, Executor, find_binding
from .binding import Binding
from .executor import Io


class TensorRtBackend:
    """One engine per graph, built where none is stored, loaded when the graph is first run."""

    def __init__(
        self,
        load: GraphBytes,
        *,
        driver: Driver | None = None,
        binding: Binding | None = None,
        store: EngineStore | None = None,
        options: BuildOptions | None = None,
        io: Io | None = None,
    ) -> None:
        """Start CUDA, then TensorRT: without a GPU some of its libraries end the process.

        Args:
            load: gives the bytes of a graph.
            driver, binding, store: those of this machine where None.
            options: None takes what ``vae-edge build`` chose, or the defaults.
            io: None reads ``VAE_EDGE_TENSORRT_IO``, by default auto.

        Raises:
            ProviderUnavailable: no GPU, or no TensorRT of 10.3 or newer.
        """
        self._load, self._options = load, options
        self._io = cast(Io, io or os.environ.get("VAE_EDGE_TENSORRT_IO") or "auto")
        self._driver = driver or Driver()
        try:
            self._binding = binding or find_binding()
            self._store = store or EngineStore(self._binding, self._driver.device)
        except BaseException:
            self._driver.close()
            raise
        self._lock = threading.Lock()
        self._executors: dict[str, Executor] = {}

    def _executor(self, graph: str) -> Executor:
        found = self._executors.get(graph)
        if found is None:
            with self._lock:
                found = self._executors.get(graph)
                if found is None:
                    stored = self._store.get(graph, self._load(graph), options=self._options)
                    found = Executor(
                        stored.engine, binding=self._binding, driver=self._driver, graph=graph, io=self._io
                    )
                    self._executors[graph] = found
        return found

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; raises BackendError where TensorRT or CUDA fails."""
        return self._executor(graph).run(feeds, outputs)

    def prepare(self, graph: str) -> None:
        """Load or build the engine of a graph now; building takes seconds to minutes."""
        self._executor(graph)

    def describe(self) -> Description:
        """What runs the graphs; a graph that runs without CUDA graphs is degraded, and says why."""
        reasons = [e.eager_reason for e in self._executors.values() if e.eager_reason]
        modes = {e.io for e in self._executors.values()}
        return Description(
            backend="tensorrt",
            engine_version=self._binding.version,
            provider=" ".join(["native", *(f"({mode} i/o)" for mode in sorted(modes))]),
            device="tensorrt",
            threads=None,
            degraded_reason="; ".join(reasons) or None,
        )

    def close(self) -> None:
        """Free engines, then the CUDA context; idempotent."""
        with self._lock:
            executors, self._executors = self._executors, {}
            for executor in executors.values():
                executor.close()
            self._driver.close()
