"""TensorRT: engines are built on the device that runs them, from the ONNX bytes a bundle verified."""

from __future__ import annotations

from .binding import Binding, find_binding
from .builder import BuildOptions, BuiltEngine, build

__all__ = ["Binding", "BuildOptions", "BuiltEngine", "build", "find_binding"]
