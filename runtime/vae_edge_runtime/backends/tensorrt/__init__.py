"""TensorRT: engines are built on the device that runs them, from the ONNX bytes a bundle verified."""

from __future__ import annotations

from .binding import Binding, find_binding
from .builder import BuiltEngine, build
from .driver import Device, Driver, process_driver
from .executor import Executor
from .options import BuildOptions
from .prepare import Preparation, PreparedEngine, check_engines, prepare_engines
from .store import EngineStore, StoredEngine

__all__ = [
    "Binding",
    "BuildOptions",
    "BuiltEngine",
    "Device",
    "Driver",
    "EngineStore",
    "Executor",
    "Preparation",
    "PreparedEngine",
    "StoredEngine",
    "build",
    "check_engines",
    "find_binding",
    "prepare_engines",
    "process_driver",
]
