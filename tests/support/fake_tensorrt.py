"""A stand-in for TensorRT's Python package, with the answers real ones give on failure.

It holds only names that bindings of 10.3 to 11.4 share (``recorded_names``), so a call of any other name
fails here. Its engines really compute: they carry the ONNX bytes they were built from, which ONNX Runtime
runs on the memory whose addresses they were given, when the stream of the fake driver gets there.
"""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import onnx
from fake_cuda import FakeCuda
from fake_trt_engine import (
    Counted,
    DataType,
    EngineInspector,
    ExecutionContextAllocationStrategy,
    ICudaEngine,
    IExecutionContext,
    ILogger,
    IProgressMonitor,
    LayerInformationFormat,
    Runtime,
    Severity,
    TensorIOMode,
)
from recorded_names import TENSORRT


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


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
