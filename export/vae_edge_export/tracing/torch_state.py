"""PyTorch's global state, kept or set for a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
