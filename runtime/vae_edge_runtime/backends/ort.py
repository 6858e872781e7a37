"""ONNX Runtime: CPU, CUDA and TensorRT execution providers."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..device.devices import devices
from ..errors import BackendError, ProviderUnavailable
from .base import Description, DeviceOptions, GraphBytes
from .integers import add_exactly

if TYPE_CHECKING:
    from .ort_gpu import GpuProviders

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_BESIDE = {_CPU: (), _CUDA: (_CPU,), _TENSORRT: (_CUDA, _CPU)}
"""What runs the nodes that a provider leaves: TensorRT leaves some to CUDA, CUDA leaves shape arithmetic to the CPU."""
_FATAL_ONLY = 4
_IN_FLOAT = (
    "sums of its signed 8-bit weights may saturate on this CPU, so it computes in float; int8-cpu of a new export has "
    "unsigned ones"
)
_PLACE = re.compile(r"^/\S+\.(?:cc|h):\d+ \S.*?\) ")
"""Such as ``/onnxruntime_src/.../pybind_state.cc:729 void onnxruntime::f(PySessionOptions&) ``."""


class OrtBackend:
    """One ONNX Runtime session per graph, created when the graph is first run.

    The provider asked for is the provider used, read back after creation: on its own
    onnxruntime warns and continues on the CPU when CUDA cannot be loaded.
    """

    def __init__(self, load: GraphBytes, options: DeviceOptions) -> None:
        """Import onnxruntime and see whether it has the provider that ``options.candidate.mode`` names.

        Raises:
            MissingDependency: onnxruntime is not installed.
            ProviderUnavailable: its build does not have the provider.
        """
        self._ort = options.import_engine()
        self._load, self._options, self._provider = load, options, options.candidate.mode
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        self._available = self._ort.get_available_providers()
        self._gpu: GpuProviders | None = None
        self._in_float = False
        if self._provider not in self._available:
            here = [row.name for row in devices() for candidate in row.candidates
                    if candidate.engine == options.candidate.engine and candidate.mode in self._available]  # fmt: skip
            raise self._unavailable(f"'{options.device.name}' is not in this onnxruntime (has: {', '.join(here)})")
        if options.device.gpu:
            from .ort_gpu import GpuProviders  # not at the top: sessions on a CPU pay for nothing of it

            self._gpu = GpuProviders(self._ort, self._provider, exact=options.device.exact)

    def _unavailable(self, problem: str, remedy: str = "") -> ProviderUnavailable:
        remedy = remedy or "install a build that has it (on a Jetson the JetPack wheel)"
        if self._options.device.fallback is not None:
            remedy += f', or pass device="{self._options.device.fallback}", or allow_fallback=True'
        return ProviderUnavailable(problem, remedy=remedy)

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
        if self._gpu is None and self._options.file is not None:
            with self._options.file(graph) as source:
                return self._create_from(graph, source, {})
        raw = self._load(graph)  # TensorRT names what it caches by a file's name, so it gets none
        if self._gpu is None:
            return self._create_from(graph, raw, {})
        providers = (self._provider, *_BESIDE[self._provider])
        return self._create_on_gpu(graph, raw, {name: self._gpu.settings(name, raw) for name in providers}, self._gpu)

    def _create_on_gpu(
        self, graph: str, raw: bytes, settings: Mapping[str, Mapping[str, str]], gpu: GpuProviders
    ) -> Any:
        """A session that ran a row; CUDA's libraries are looked for once more where the provider did not start."""
        from .ort_gpu import on_a_jetson, remedy_for, try_one_row

        name, provider = self._options.device.name, self._provider
        session, problem = self._try_to_create(graph, raw, settings)
        if session is None and gpu.preload():
            session, problem = self._try_to_create(graph, raw, settings)
        if session is None:
            reason = gpu.missing(provider) or problem
            remedy = remedy_for(reason, jetson=on_a_jetson())
            raise self._unavailable(f"onnxruntime lists '{name}' and could not start it ({reason})", remedy)
        try:
            try_one_row(session)
        except Exception as error:
            reason = _first_line(error)
            remedy = remedy_for(reason, jetson=on_a_jetson())
            problem = f"'{name}' loaded graph '{graph}' and failed at its first row ({reason})"
            raise self._unavailable(problem, remedy) from error
        return session

    def _try_to_create(self, graph: str, raw: bytes, settings: Mapping[str, Mapping[str, str]]) -> tuple[Any, str]:
        """A session that has the provider, or None and what onnxruntime says: some providers raise, CUDA's does not."""
        try:
            session = self._create_from(graph, raw, settings)
        except ProviderUnavailable as error:
            return None, error.problem
        if session.get_providers()[0] != self._provider:
            return None, "its libraries load, so the driver or the GPU is to blame"
        return session, ""

    def _create_from(self, graph: str, source: str | bytes, settings: Mapping[str, Mapping[str, str]]) -> Any:
        session_options = self._ort.SessionOptions()
        session_options.log_severity_level = _FATAL_ONLY  # problems come as exceptions, not as lines on stderr
        if self._options.threads is not None:
            session_options.intra_op_num_threads = self._options.threads
        session_options.inter_op_num_threads = 1
        if self._options.spin is not None:
            entry = str(int(self._options.spin))
            session_options.add_session_config_entry("session.intra_op.allow_spinning", entry)
        if self._provider == _CPU and add_exactly(session_options, source):
            self._in_float = True
        others = [name for name in _BESIDE.get(self._provider, (_CPU,)) if name in self._available]
        try:
            return self._ort.InferenceSession(
                source,
                sess_options=session_options,
                providers=[(name, dict(settings.get(name, {}))) for name in (self._provider, *others)],
                enable_fallback=0,
            )
        except Exception as error:  # its 15 exception classes share no base of their own
            device = self._options.device
            if device.fallback is None:  # the device is there for certain, so the graph is to blame
                raise BackendError(f"onnxruntime {self._ort.__version__} refused graph '{graph}': {error}") from error
            raise self._unavailable(f"'{device.name}' failed to load graph '{graph}' ({_first_line(error)})") from error

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; raises BackendError where the engine fails."""
        session, rows = self._session(graph), None
        if self._provider == _CUDA:
            from .ort_gpu import padded

            rows = len(next(iter(feeds.values())))
            feeds = padded(feeds)
        try:
            results: list[NDArray[Any]] = session.run(list(outputs), dict(feeds))
        except Exception as error:
            raise BackendError(f"onnxruntime failed running graph '{graph}': {_first_line(error)}") from error
        return results if rows is None else [result[:rows] for result in results]

    def prepare(self, graph: str) -> None:
        """Create the session of a graph now, so that its errors come now."""
        self._session(graph)

    def describe(self) -> Description:
        """What runs the graphs: the provider is read back from a session where there is one."""
        session = next(iter(self._sessions.values()), None)
        provider = session.get_providers()[0] if session else self._provider
        return Description(
            backend="onnxruntime",
            engine_version=str(self._ort.__version__),
            provider=provider,
            device=self._options.device.name,
            threads=self._options.threads,
            degraded_reason=_IN_FLOAT if self._in_float else None,
            spin=self._options.spin,
        )

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()


def _first_line(error: Exception) -> str:
    """The first line without the place in onnxruntime's source that its own checks begin with."""
    return _PLACE.sub("", str(error).strip().split("\n")[0])[:300]
