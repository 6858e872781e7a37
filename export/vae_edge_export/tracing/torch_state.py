"""PyTorch's global state, kept or set for a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
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
def translations_read_once() -> Iterator[None]:
    """The exporter's 500 translations of operators, parsed once a process: it parses them anew for every graph."""
    try:
        from torch.onnx._internal.exporter._registration import onnxscript_apis as apis  # type: ignore[attr-defined]

        read = apis.get_torchlib_ops
    except (ImportError, AttributeError):  # a torch that keeps them elsewhere: only slower
        yield
        return
    apis.get_torchlib_ops = lambda: _translations(read)
    try:
        yield
    finally:
        apis.get_torchlib_ops = read


@cache
def _translations(read: Callable[[], list[Any]]) -> list[Any]:
    return read()


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
