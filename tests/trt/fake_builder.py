"""A stand-in for the part of TensorRT's Python package that builds, with the answers real ones give on failure.

It holds only names that bindings of 10.3, 10.7, 10.13, 10.16 and 11.4 share, so a call of any other name fails here.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any


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


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, low: Any, opt: Any, high: Any) -> None:
        self.shapes[name] = (low, opt, high)


class Config:
    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake
        self.profiling_verbosity = self.progress_monitor = None
        self.cleared: list[Any] = []

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._fake.workspace = size

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        self._fake.profiles.append(profile)
        return -1 if self._fake.refuses_profile else 0

    def create_timing_cache(self, raw: bytes) -> Any:
        return SimpleNamespace(raw=raw, serialize=lambda: raw + b"+measured")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self._fake.caches.append(cache.raw)
        return cache.raw in (b"", b"mine")


class Parser:
    def __init__(self, network: Any, log: ILogger) -> None:
        self._fake = network.fake

    def parse(self, raw: bytes) -> bool:
        return not self._fake.parser_errors

    @property
    def num_errors(self) -> int:
        return len(self._fake.parser_errors)

    def get_error(self, i: int) -> Any:
        return SimpleNamespace(desc=lambda: self._fake.parser_errors[i])


class FakeTensorRt:
    """Set ``engine`` to None and ``messages`` to what is logged to make a build fail as the real one does."""

    __version__ = "10.3.0"
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
    BuilderFlag = enum.Enum("BuilderFlag", ["TF32"])
    ILogger, IProgressMonitor, OnnxParser = ILogger, IProgressMonitor, Parser

    def __init__(self) -> None:
        self.engine: bytes | None = b"engine"
        self.messages: list[str] = []
        self.parser_errors: list[str] = []
        self.refuses_profile = False
        self.workspace = 0
        self.flags = -1
        self.profiles: list[Profile] = []
        self.caches: list[bytes] = []

    def Builder(self, log: ILogger) -> Any:
        def build(network: Any, config: Config) -> bytes | None:
            for message in self.messages:
                log.log(Severity.ERROR, message)
            monitor: Any = config.progress_monitor
            monitor.phase_start("Building", None, 2)
            for step in range(2):
                if not monitor.step_complete("Building", step):
                    return None
            monitor.phase_finish("Building")
            return self.engine

        def network(flags: int) -> Any:
            self.flags = flags
            inputs = [Tensor("x", (-1, 3, 8)), Tensor("noise", (-1, 2, 4))]
            return SimpleNamespace(fake=self, num_inputs=len(inputs), get_input=inputs.__getitem__)

        return SimpleNamespace(
            create_network=network,
            create_builder_config=lambda: Config(self),
            create_optimization_profile=Profile,
            build_serialized_network=build,
        )
