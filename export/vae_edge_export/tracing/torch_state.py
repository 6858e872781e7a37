"""PyTorch's global state, kept or set for a while."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

import torch


@contextmanager
def kept_rng() -> Iterator[None]:
    """Leave torch's global generator as it was."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def slow_attention() -> Iterator[None]:
    """Attention without its fast path, which no dispatch mode and no tracer can follow."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def torch_tables_made_once() -> Iterator[None]:
    """Tables that PyTorch's exporter makes anew for every graph, made once: some 40 % of the time of a small graph.

    They are the translations of 500 operators with their signatures, made once a process, and the operators of the
    C++ dispatcher, which PyTorch looks up again for each of some 30 namespaces and several times a graph; those are
    looked up once inside this context, since a user's model may register another operator between two exports. A
    torch that keeps its tables elsewhere is only slower.
    """
    with _replaced(_REGISTRATION, "from_torchlib", _copies), _replaced(_DISPATCHER, "_materialize_cpp_cia_ops", cache):
        yield


_REGISTRATION = "torch.onnx._internal.exporter._registration:ONNXRegistry"
_DISPATCHER = "torch._export.utils"


@contextmanager
def _replaced(place: str, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Put ``change(function)`` where PyTorch has a private function, for a while."""
    module, _, owner = place.partition(":")
    try:
        there = importlib.import_module(module)
        there = getattr(there, owner) if owner else there
        was = vars(there)[name]
    except (ImportError, AttributeError, KeyError):
        yield
        return
    setattr(there, name, change(getattr(there, name)))
    try:
        yield
    finally:
        setattr(there, name, was)


def _copies(read: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_copied_registry, read)  # a partial stays what it is as an attribute of a class


def _copied_registry(read: Callable[..., Any], **options: Any) -> Any:
    """A registry whose lists may be added to; the translations in them are shared."""
    registry = copy.copy(_registry(read, **options))
    registry.functions = {name: list(translations) for name, translations in registry.functions.items()}
    return registry


@cache
def _registry(read: Callable[..., Any], **options: Any) -> Any:
    return read(**options)


@contextmanager
def clean_stdout() -> Iterator[None]:
    """Nothing on file descriptor 1: PyTorch's C++ side prints its graph there when it fails, into a user's JSON."""
    with suppress(OSError, ValueError, AttributeError):  # no stdout, or a closed one
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
