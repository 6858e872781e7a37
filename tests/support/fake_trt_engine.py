"""Engines and contexts of the stand-in for TensorRT, and what its objects share; ``fake_tensorrt`` is the package."""

from __future__ import annotations

import ctypes
import enum
import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from fake_cuda import BIAS, Work

if TYPE_CHECKING:
    from fake_tensorrt import FakeTensorRt

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


class Counted:
    """An object of TensorRT: it exists until it is freed, which takes a current context once CUDA has started."""

    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake
        fake.cuda.alive.append(type(self).__name__)

    def __del__(self) -> None:
        self._fake.cuda.alive.remove(type(self).__name__)
        if self._fake.cuda.started and not self._fake.cuda.contexts:
            self._fake.cuda.violations.append(f"~{type(self).__name__} without a current context")


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
