"""Graphs in memory, run by the backend that will run them from a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx

from vae_edge_runtime.backends.base import Backend, GraphBytes
from vae_edge_runtime.backends.opening import open_backend


@contextmanager
def in_memory(models: Mapping[str, onnx.ModelProto] | GraphBytes) -> Iterator[Backend]:
    """A CPU backend for some graphs, or for what gives their bytes; closed at the end."""
    load = models if callable(models) else lambda graph: models[graph].SerializeToString()
    backend = open_backend("cpu", load, allow_fallback=False, threads=None)
    try:
        yield backend
    finally:
        backend.close()
