"""TensorRT itself: engines from this device's store, run by ``trt.Executor``."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from numpy.typing import NDArray

from ..base import Description, DeviceOptions, GraphBytes
from . import Driver, EngineStore, Executor, find_binding
from .executor import Io


class TensorRtBackend:
    """One engine per graph, built where none is stored, loaded when the graph is first run."""

    def __init__(self, load: GraphBytes, options: DeviceOptions) -> None:
        """Start CUDA, then TensorRT: without a GPU some of its libraries end the process.

        Engines are those that ``vae-edge build`` stored, or built with its defaults. ``VAE_EDGE_TENSORRT_IO`` says
        how rows reach the GPU, by default auto.

        Raises:
            ProviderUnavailable: no GPU, or no TensorRT of 10.3 or newer.
        """
        self._load, self._options = load, options
        self._io = cast(Io, os.environ.get("VAE_EDGE_TENSORRT_IO") or "auto")
        self._driver = Driver()
        try:
            self._binding = find_binding()
            self._store = EngineStore(self._binding, self._driver.device)
        except BaseException:
            self._driver.close()
            raise
        self._lock = threading.Lock()
        self._executors: dict[str, Executor] = {}

    def _executor(self, graph: str) -> Executor:
        executor = self._executors.get(graph)
        if executor is None:
            with self._lock:
                executor = self._executors.get(graph)
                if executor is None:
                    engine = self._store.get(graph, self._load(graph)).form
                    executor = Executor(engine, binding=self._binding, driver=self._driver, graph=graph, io=self._io)
                    self._executors[graph] = executor
        return executor

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
            device=self._options.device.name,
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
