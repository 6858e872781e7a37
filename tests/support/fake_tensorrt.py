"""A stand-in for TensorRT's Python package, with the answers real ones give on failure.

It holds only names that bindings of 10.3 to 11.4 share (``recorded_names``), so a call of any other name
fails here. Its engines really compute: they carry the ONNX bytes they were built from, which ONNX Runtime
runs on the memory whose addresses they were given, when the stream of the fake driver gets there.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fake_cuda import BIAS, FakeCuda, Work
from recorded_names import TENSORRT

SCRATCH_PER_ROW = 1000


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


ExecutionContextAllocationStrategy = enum.Enum(
    "ExecutionContextAllocationStrategy", ["STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"]
)
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "INT64", "BF16"])
LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE", "JSON"])
_TYPES = {"tensor(float)": "FLOAT", "tensor(int64)": "INT64", "tensor(uint8)": "UINT8", "tensor(bool)": "BOOL"}


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class Counted:
    """An object of TensorRT: it exists until it is freed, which takes a current context once CUDA has started."""

    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake
        fake.cuda.alive.append(type(self).__name__)

    def __del__(self) -> None:
        self._fake.cuda.alive.remove(type(self).__name__)
        if self._fake.cuda.started and not self._fake.cuda.contexts:
            self._fake.cuda.violations.append(f"~{type(self).__name__} without a current context")


class IOptimizationProfile:
    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake
        self._shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, low: Any, opt: Any, high: Any) -> None:
        self._shapes[name] = (low, opt, high)


class ITimingCache:
    def __init__(self, fake: FakeTensorRt, raw: bytes) -> None:
        self._fake, self._raw = fake, raw

    def serialize(self) -> bytes:
        return self._raw + b"+measured"


class IBuilderConfig(Counted):
    def __init__(self, fake: FakeTensorRt) -> None:
        super().__init__(fake)
        self._profiles: list[IOptimizationProfile] = []
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._fake.limits[pool.name] = size

    def clear_flag(self, flag: Any) -> None:
        self._fake.cleared.append(flag)

    def set_flag(self, flag: Any) -> None:
        self._fake.flagged.append(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        if self._fake.refuses_profile:
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, raw: bytes) -> ITimingCache:
        return ITimingCache(self._fake, raw)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self._fake.caches.append(cache._raw)
        return cache._raw == b"" or cache._raw.startswith(b"+measured")


class INetworkDefinition(Counted):
    def __init__(self, fake: FakeTensorRt) -> None:
        super().__init__(fake)
        self._onnx = b""
        self._inputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, i: int) -> ITensor:
        return self._inputs[i]


class OnnxParser:
    def __init__(self, network: INetworkDefinition, log: ILogger) -> None:
        self._network, self._fake = network, network._fake

    def parse(self, raw: bytes) -> bool:
        if self._network._fake.parser_errors:
            return False
        self._network._onnx = raw
        for value in onnx.load_from_string(raw).graph.input:
            shape = tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim)
            self._network._inputs.append(ITensor(value.name, shape))
        return True

    @property
    def num_errors(self) -> int:
        return len(self._network._fake.parser_errors)

    def get_error(self, i: int) -> Any:
        return SimpleNamespace(desc=lambda: self._network._fake.parser_errors[i])


class Builder(Counted):
    def __init__(self, fake: FakeTensorRt, log: ILogger) -> None:
        super().__init__(fake)
        self._log = log

    def create_network(self, flags: int) -> INetworkDefinition:
        self._fake.flags = flags
        return INetworkDefinition(self._fake)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._fake)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile(self._fake)

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        self._fake.builds += 1
        for name in ("builder_optimization_level", "max_aux_streams", "avg_timing_iterations"):
            if hasattr(config, name):
                self._fake.settings[name] = getattr(config, name)
        for warning in self._fake.warnings:
            self._log.log(Severity.WARNING, warning)
        for message in self._fake.messages:
            self._log.log(Severity.ERROR, message)
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        for step in range(2):
            self._fake.while_building()
            if not monitor.step_complete("Building", step):
                return None
        monitor.phase_finish("Building")
        if self._fake.messages or not config._profiles:  # a dynamic network without a profile has no engine
            return None
        self._fake.profiles = [profile._shapes for profile in config._profiles]
        head = json.dumps({"version": self._fake.__version__, "profiles": self._fake.profiles}).encode()
        return len(head).to_bytes(4, "little") + head + network._onnx


class Runtime(Counted):
    def __init__(self, fake: FakeTensorRt, log: ILogger) -> None:
        super().__init__(fake)
        self._log = log

    def deserialize_cuda_engine(self, raw: bytes) -> ICudaEngine | None:
        size = int.from_bytes(raw[:4], "little")
        head = json.loads(raw[4 : 4 + size])
        if head["version"] != self._fake.__version__:
            self._log.log(Severity.ERROR, "Version tag does not match")
            return None
        return ICudaEngine(self, head["profiles"], raw[4 + size :])


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._fake = engine, engine._fake

    def get_engine_information(self, form: Any) -> str:
        assert form is LayerInformationFormat.JSON
        nodes = onnx.load_from_string(self._engine._raw).graph.node
        layers = [
            {"Name": node.name or node.output[0], "LayerType": node.op_type, "TacticName": "sm87_" + node.op_type,
             "Outputs": [{"Name": node.output[0], "Format/Datatype": "Row major linear FP32"}]}
            for node in nodes
        ]  # fmt: skip
        return json.dumps({"Layers": layers, "Bindings": list(self._engine._io)})


class ICudaEngine(Counted):
    def __init__(self, runtime: Runtime, profiles: list[dict[str, Any]], raw: bytes) -> None:
        super().__init__(runtime._fake)
        self._runtime = runtime  # an engine keeps its runtime alive, a context its engine
        self._profiles, self._raw = profiles, raw
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        self._io = {tensor.name: tensor for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    @property
    def num_io_tensors(self) -> int:
        return len(self._io)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return SCRATCH_PER_ROW * int(self._profiles[profile][self._inputs[0]][2][0])

    def get_tensor_name(self, i: int) -> str:
        return list(self._io)[i]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._fake.shapes_unknown:
            return (-1,) * len(self._io[name].shape)
        return tuple(dim if isinstance(dim, int) else -1 for dim in self._io[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[_TYPES[self._io[name].type]]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Any]:
        return list(self._profiles[profile][name])

    def create_execution_context(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> Any:
        if self._fake.contexts_left == 0:
            return None
        self._fake.contexts_left -= 1
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext(Counted):
    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__(engine._fake)
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile = -1
        self._scratch = (0, 0)
        self._warm: set[int] = set()
        self._entered = threading.Lock()

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._profile = profile
        return self._fake.cuda.enqueue(stream, Work(lambda: None)) == 0

    def set_device_memory(self, memory: int, size: int) -> None:
        self._fake.cuda.bytes_at(memory, size)
        self._scratch = (memory, size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine._io and memory != 0

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        rows = self._shapes[self._engine._inputs[0]][0]
        return (rows, *(dim for dim in self._engine._io[name].shape[1:]))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine._profiles[max(self._profile, 0)][name]  # 0 is the one of a new context
        self._shapes[name] = tuple(shape)
        return len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def execute_async_v3(self, stream: int) -> bool:
        cuda = self._fake.cuda
        if not self._entered.acquire(blocking=False):
            cuda.wrong("one context runs in two threads")
            return False
        try:
            rows = self._ready(stream)
            if not rows:
                return False
            if cuda.streams[stream].captured is not None and rows not in self._warm:
                cuda.unsafe_while_capturing()  # a first run loads kernels
            self._warm.add(rows)
            if self._fake.run_fails:
                self._fake.run_fails -= 1
                return False
            self._fake.scratches.append(self._scratch[1])
            touches = tuple(address - BIAS for address in (*self._addresses.values(), self._scratch[0]))
            return cuda.enqueue(stream, Work(lambda: self._compute(rows), touches)) == 0
        finally:
            self._entered.release()

    def _ready(self, stream: int) -> int:
        """Rows, or 0 where something is missing, which the real one would read anyway."""
        cuda, engine = self._fake.cuda, self._engine
        if not cuda.contexts:
            cuda.wrong("execution without a current CUDA context")
        elif stream not in cuda.streams:
            cuda.wrong("execution on the default stream or one that is gone")
        elif set(self._addresses) != set(engine._io) or self.infer_shapes():
            cuda.wrong("execution without all addresses and shapes")
        elif self._scratch[1] < engine.get_device_memory_size_for_profile_v2(self._profile):
            cuda.wrong("execution without enough scratch memory")
        else:
            return self._shapes[engine._inputs[0]][0]
        return 0

    def _compute(self, rows: int) -> None:
        engine, cuda = self._engine, self._fake.cuda
        self._fake.while_running()
        ctypes.memset(cuda.bytes_at(*self._scratch), 0x5A, self._scratch[1])
        feeds = {name: self._array(name, rows).copy() for name in engine._inputs}
        outputs = [name for name in engine._io if name not in engine._inputs]
        for name, found in zip(outputs, engine._session.run(outputs, feeds), strict=True):
            self._array(name, rows)[...] = found

    def _array(self, name: str, rows: int) -> np.ndarray[Any, Any]:
        shape = (rows, *self._engine._io[name].shape[1:])
        kind = {"FLOAT": "float32", "UINT8": "uint8", "INT64": "int64", "BOOL": "bool"}
        dtype = np.dtype(kind[self._engine.get_tensor_dtype(name).name])
        size = int(np.prod(shape)) * dtype.itemsize
        at = self._fake.cuda.bytes_at(self._addresses[name], size)
        return np.frombuffer((ctypes.c_char * size).from_address(at), dtype).reshape(shape)


class FakeTensorRt:
    """The package. Set ``messages`` to what is logged to make a build fail as the real one does."""

    __version__ = "10.3.0"
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE", "TACTIC_DRAM"])
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
    BuilderFlag = enum.Enum("BuilderFlag", ["TF32"])
    ILogger, IProgressMonitor, OnnxParser, TensorIOMode = ILogger, IProgressMonitor, OnnxParser, TensorIOMode
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    LayerInformationFormat = LayerInformationFormat

    def __init__(self, cuda: FakeCuda | None = None) -> None:
        self.cuda = cuda or FakeCuda()
        self.messages: list[str] = []
        self.parser_errors: list[str] = []
        self.refuses_profile = False
        self.warnings: list[str] = []
        self.scratches: list[int] = []
        self.while_building: Callable[[], object] = lambda: None
        self.flags = -1
        self.builds = 0
        self.profiles: list[dict[str, Any]] = []
        self.cleared: list[Any] = []
        self.flagged: list[Any] = []
        self.limits: dict[str, int] = {}
        self.settings: dict[str, Any] = {}
        self.raises: dict[str, Exception] = {}
        self.entered: set[str] = set()
        self.arguments: dict[str, set[int]] = {}
        """Calls that began, and with how many arguments."""
        self.shapes_unknown: tuple[str, ...] = ()
        self.caches: list[bytes] = []
        self.contexts_left = 1 << 30
        self.run_fails = 0
        self.while_running: Callable[[], object] = lambda: None

    def Builder(self, log: ILogger) -> Builder:
        self.enter("Builder")
        return Builder(self, log)

    def Runtime(self, log: ILogger) -> Runtime:
        self.enter("Runtime")
        if not self.cuda.started:
            self.cuda.wrong("TensorRT's runtime without CUDA, which ends a process where there is no GPU")
        return Runtime(self, log)

    def enter(self, name: str) -> None:
        """A call begins; ``raises`` holds what it raises instead, by the name of the call."""
        self.entered.add(name)
        if name in self.raises:
            raise self.raises[name]


OBJECTS: tuple[Any, ...] = (
    Runtime, ICudaEngine, IExecutionContext, Builder, INetworkDefinition, OnnxParser, IBuilderConfig,
    IOptimizationProfile, ITimingCache, EngineInspector,
)  # fmt: skip


def _entered(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        self._fake.enter(name)
        self._fake.arguments.setdefault(name, set()).add(len(arguments) + len(options))
        return method(self, *arguments, **options)

    return call


for _double in OBJECTS:
    for _name, _method in list(vars(_double).items()):
        if not _name.startswith("_") and callable(_method):
            setattr(_double, _name, _entered(f"{_double.__name__}.{_name}", _method))


def names_of_doubles() -> dict[str, set[str]]:
    """Public names of every double of a class of TensorRT, by the class."""
    doubles: list[Any] = [
        *OBJECTS, ILogger, ITensor, ExecutionContextAllocationStrategy, TensorIOMode, LayerInformationFormat,
        DataType, FakeTensorRt.BuilderFlag, FakeTensorRt.MemoryPoolType, FakeTensorRt.ProfilingVerbosity,
        FakeTensorRt.NetworkDefinitionCreationFlag,
    ]  # fmt: skip
    found: dict[str, set[str]] = {}
    for double in doubles:
        members = double.__members__ if isinstance(double, enum.EnumMeta) else vars(double)
        found[double.__name__] = {name for name in members if not name.startswith("_")}
    assert set(found) <= set(TENSORRT)
    return found
