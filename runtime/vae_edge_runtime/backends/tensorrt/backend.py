"""TensorRT itself: engines from this device's store, run by ``trt.Executor``."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, cast

from numpy.typing import NDArray

from ...errors import BackendError, OptionError, ProviderUnavailable
from ..base import Description, DeviceOptions, GraphBytes
from . import EngineStore, Executor, find_binding, process_driver
from .executor import Io
from .lane import Split


class TensorRtBackend:
    """One engine per graph, built where none is stored, loaded when the graph is first run."""

    takes_gpu_rows = True

    def __init__(self, load: GraphBytes, options: DeviceOptions) -> None:
        """Start CUDA, then TensorRT: without a GPU some of its libraries end the process.

        Engines are those that ``vae-edge build`` stored, or built with its defaults. ``VAE_EDGE_TENSORRT_IO`` says
        how rows reach the GPU, by default auto.

        Raises:
            ProviderUnavailable: no GPU, or no TensorRT of 10.3 or newer.
        """
        self._load, self._options = load, options
        self._io = cast(Io, os.environ.get("VAE_EDGE_TENSORRT_IO") or "auto")
        tf32 = not options.device.exact
        if tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
            raise ProviderUnavailable(
                "NVIDIA_TF32_OVERRIDE=0 forbids TF32 to this process", remedy='unset it, or take device="tensorrt"'
            )
        self._driver = process_driver()
        self._binding = find_binding()
        self._store = EngineStore(self._binding, self._driver.device, tf32=tf32, current=self._driver.current)
        self._lock = threading.Lock()
        self._executors: dict[str, Executor] = {}
        self.pid = os.getpid()
        _OPEN.add(self)

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

    def split(self, graph: str, rows: int, runs: int) -> tuple[Split, ...]:
        """Time the parts of runs of one graph; arguments and errors as for ``Executor.split``."""
        return self._executor(graph).split(rows, runs)

    def prepare(self, graph: str) -> None:
        """Load or build the engine of a graph now, and run a row; building takes seconds to minutes.

        ``VAE_EDGE_TENSORRT_WARM_UP`` lists the numbers of rows to run, by default 1: the first run of a size is slow.
        """
        self._executor(graph).warm_up(_warm_up())

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
        """Free engines; idempotent. The CUDA context stays until the process ends."""
        with self._lock:
            executors, self._executors = self._executors, {}
            for executor in executors.values():
                executor.close()


_OPEN: weakref.WeakSet[TensorRtBackend] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Free engines that nobody closed while CUDA is still there: its libraries unload after Python's objects."""
    for backend in [one for one in _OPEN if one.pid == os.getpid()]:  # a forked child must not touch its parent's
        with contextlib.suppress(BackendError):
            backend.close()


def _warm_up() -> tuple[int, ...]:
    text = os.environ.get("VAE_EDGE_TENSORRT_WARM_UP", "1")
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    if not all(number.isdigit() and 1 <= int(number) <= 4096 for number in numbers):
        raise OptionError(f"VAE_EDGE_TENSORRT_WARM_UP is {text!r}; write numbers of rows from 1, such as 1,8")
    return tuple(int(number) for number in numbers)
