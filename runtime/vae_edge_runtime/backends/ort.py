"""ONNX Runtime: CPU, CUDA and TensorRT execution providers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..dependencies import require
from ..errors import BackendError, ProviderUnavailable
from .base import Description, GraphBytes, GraphFile

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_FATAL_ONLY = 4


class OrtBackend:
    """One ONNX Runtime session per graph, created when the graph is first run.

    The provider asked for is the provider used, read back after creation: on its own
    onnxruntime warns and continues on the CPU when CUDA cannot be loaded.
    """

    def __init__(
        self,
        load: GraphBytes,
        *,
        device: str,
        allow_fallback: bool,
        threads: int | None,
        degraded_reason: str | None = None,
        file: GraphFile | None = None,
        spin: bool | None = None,
    ) -> None:
        self._ort = require("onnxruntime", extra="cpu", why="running a bundle")
        self._load, self._file, self._threads, self._spin = load, file, threads, spin
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        self._degraded_reason = degraded_reason
        available = self._ort.get_available_providers()
        if device == "auto":
            device = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
            allow_fallback = True
        self._device, self._allow_fallback = device, allow_fallback
        if _PROVIDERS[device] not in available:
            names = ", ".join(d for d, p in _PROVIDERS.items() if p in available)
            self._fall_back(f"'{device}' is not in this onnxruntime (has: {names})")

    def _fall_back(self, problem: str) -> None:
        if not self._allow_fallback or self._device == "cpu":
            remedy = "install a build that has it (on a Jetson the JetPack wheel)"
            raise ProviderUnavailable(f'{problem}: {remedy}, or pass device="cpu", or allow_fallback=True')
        self._device, self._degraded_reason = "cpu", f"{problem}; running on cpu"
        self._sessions.clear()  # every graph of one session runs on one device

    def _session(self, graph: str) -> Any:
        session = self._sessions.get(graph)
        if session is None:
            with self._lock:
                session = self._sessions.get(graph)
                if session is None:
                    session = self._create(graph)
                    self._sessions[graph] = session
        return session

    def _create(self, graph: str) -> Any:
        # TensorRT names what it caches by a file's name, so it gets none.
        if self._file is None or self._device == "tensorrt":
            return self._create_from(graph, self._load(graph))
        with self._file(graph) as source:
            return self._create_from(graph, source)

    def _create_from(self, graph: str, source: str | bytes) -> Any:
        provider = _PROVIDERS[self._device]
        options = self._ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY  # problems come as exceptions, not as lines on stderr
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        if self._spin is not None:
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spin)))
        # TensorRT leaves single nodes to CUDA, CUDA leaves shape arithmetic to the CPU.
        chain = {"cpu": ["cpu"], "cuda": ["cuda", "cpu"], "tensorrt": ["tensorrt", "cuda", "cpu"]}[self._device]
        settings = self._tensorrt_settings(source) if isinstance(source, bytes) and self._device == "tensorrt" else {}
        try:
            session = self._ort.InferenceSession(
                source,
                sess_options=options,
                providers=[
                    (_PROVIDERS[name], settings if name == "tensorrt" else {})
                    for name in chain
                    if _PROVIDERS[name] in self._ort.get_available_providers()
                ],
                enable_fallback=0,
            )
        except Exception as error:  # its 15 exception classes share no base of their own
            if self._device == "cpu":
                raise BackendError(f"onnxruntime {self._ort.__version__} refused graph '{graph}': {error}") from error
            self._fall_back(f"'{self._device}' failed to load graph '{graph}' ({_first_line(error)})")
            return self._create(graph)
        if session.get_providers()[0] != provider:
            self._fall_back(f"onnxruntime could not start '{self._device}' (it lists it, its libraries did not load)")
            return self._create(graph)
        return session

    def _tensorrt_settings(self, raw: bytes) -> dict[str, str]:
        """Options of the TensorRT provider: engines kept between processes, one range of batches instead of a
        build for every new one, and the workspace that ``trt.BuildOptions`` has.
        """
        from ..device.cache import cache_folder, private_folder
        from ..format.onnx_scan import scan
        from .tensorrt.builder import BuildOptions

        options = BuildOptions()
        folder = private_folder(cache_folder("onnxruntime-tensorrt"))
        inputs = scan(raw).inputs
        shapes = {
            f"trt_profile_{which}_shapes": ",".join(
                f"{tensor.name}:{'x'.join(map(str, (rows, *tensor.dims[1:])))}" for tensor in inputs
            )
            for which, rows in (("min", 1), ("opt", options.max_batch), ("max", options.max_batch))
        }
        return {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
            "trt_max_workspace_size": str(options.workspace_bytes),
            **shapes,
        }

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; raises BackendError where the engine fails."""
        session = self._session(graph)
        try:
            results: list[NDArray[Any]] = session.run(list(outputs), dict(feeds))
        except Exception as error:
            raise BackendError(f"onnxruntime failed running graph '{graph}': {_first_line(error)}") from error
        return results

    def prepare(self, graph: str) -> None:
        """Create the session of a graph now, so that its errors come now."""
        self._session(graph)

    def describe(self) -> Description:
        """What runs the graphs: the provider is read back from a session where there is one."""
        session = next(iter(self._sessions.values()), None)
        provider = session.get_providers()[0] if session else _PROVIDERS[self._device]
        return Description(
            backend="onnxruntime",
            engine_version=str(self._ort.__version__),
            provider=provider,
            device=self._device,
            threads=self._threads,
            degraded_reason=self._degraded_reason,
            spin=self._spin,
        )

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
