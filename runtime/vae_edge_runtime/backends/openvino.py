"""OpenVINO on a CPU: x86-64 and arm64."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError, ProviderUnavailable
from .base import Description, DeviceOptions, GraphBytes
from .forking import ForkGate
from .integers import may_saturate
from .openvino_unroll import unroll_transposed

_GATE = ForkGate("OpenVINO")
_IN_FLOAT = "OpenVINO's sums of 8-bit weights may saturate on this CPU, so it computes in float"


class OpenVinoBackend:
    """One compiled model per graph, and one request per call at a time.

    Arithmetic is float32 whatever the CPU offers, as that is what the parity of a bundle was measured in; on its
    own OpenVINO computes in bfloat16 where it can. The mode ``bf16`` asks for that.
    """

    def __init__(self, load: GraphBytes, options: DeviceOptions) -> None:
        """Start the engine in the precision that ``options.candidate.mode`` names, ``f32`` or ``bf16``.

        Raises:
            MissingDependency: openvino is not installed.
            ProviderUnavailable: ``bf16`` on a CPU without bfloat16 arithmetic.
        """
        self._ov = options.import_engine()
        self._load, self._options, self._bf16 = load, options, options.candidate.mode == "bf16"
        with _GATE:
            self._core = self._ov.Core()
        if self._bf16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ProviderUnavailable("this CPU has no bfloat16 arithmetic", remedy='pass device="openvino"')
        self._in_float = False
        self._lock = threading.Lock()
        self._compiled: dict[str, Any] = {}
        self._idle: dict[str, list[Any]] = {}

    def _request(self, graph: str) -> Any:
        with _GATE, self._lock:
            if graph not in self._compiled:
                self._compiled[graph] = self._compile(graph)
                self._idle[graph] = []
            idle = self._idle[graph]
            return idle.pop() if idle else self._compiled[graph].create_infer_request()

    def _compile(self, graph: str) -> Any:
        precision = self._options.candidate.mode
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if self._options.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self._options.threads
        try:
            raw = self._load(graph)
            if may_saturate(raw, makes_signed=True):
                settings["LP_TRANSFORMS_MODE"] = "NO"  # no integer kernels
                self._in_float = True
            model = self._core.read_model(raw)
            if self._bf16:
                unroll_transposed(model)
            return self._core.compile_model(model, "CPU", settings)
        except RuntimeError as error:  # all of its exceptions are
            raise BackendError(f"openvino {self._version} refused graph '{graph}': {_last_line(error)}") from error

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; raises BackendError where the engine fails."""
        request = self._request(graph)
        try:
            with _GATE:
                request.infer({name: np.ascontiguousarray(array) for name, array in feeds.items()}, share_inputs=True)
            copies = [np.array(request.get_tensor(name).data) for name in outputs]  # the request's own is reused
        except RuntimeError as error:
            raise BackendError(f"openvino failed running graph '{graph}': {_last_line(error)}") from error
        with self._lock:
            self._idle.get(graph, []).append(request)
        return copies

    def prepare(self, graph: str) -> None:
        """Compile a graph now, so that its errors come now."""
        request = self._request(graph)
        with self._lock:
            self._idle[graph].append(request)

    def describe(self) -> Description:
        """What runs the graphs."""
        return Description(
            backend="openvino",
            engine_version=self._version,
            provider="CPU, bfloat16" if self._bf16 else "CPU",
            device=self._options.device.name,
            threads=self._options.threads,
            degraded_reason=_IN_FLOAT if self._in_float else None,
        )

    @property
    def _version(self) -> str:
        return str(self._ov.__version__).split("-")[0]

    def close(self) -> None:
        """Drop requests and models; idempotent."""
        with _GATE, self._lock:
            self._idle.clear()
            self._compiled.clear()
            self._core = None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
