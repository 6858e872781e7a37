"""Sessions of the command that runs: its engine in this process, or with ``--isolate`` in one of its own."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypedDict

import vae_edge_runtime
from vae_edge_runtime import VAE
from vae_edge_runtime.errors import OptionError


class Isolation(TypedDict):
    """Options of ``load`` that ``--isolate``, ``--deadline`` and ``--max-memory`` stand for."""

    isolate: bool
    deadline_s: float | None
    memory_bytes: int | None


_isolation: ContextVar[Isolation] = ContextVar("isolation")


def begin(*, isolate: bool = False, deadline: float | None = None, max_memory: int | None = None) -> None:
    """Keep what the command that starts says about its engine.

    Raises:
        OptionError: a limit without ``--isolate``: an engine is stopped by ending the process it runs in.
    """
    for name, value in (("--deadline", deadline), ("--max-memory", max_memory)):
        if value is not None and not isolate:
            raise OptionError(f"{name} needs --isolate: an engine is stopped by ending the process it runs in")
    _isolation.set({"isolate": isolate, "deadline_s": deadline, "memory_bytes": max_memory})


def isolation() -> Isolation:
    """What ``load``, and every function that opens a session by itself, is told of the engine's process."""
    return _isolation.get()


def load(bundle: Path, **options: Any) -> VAE:
    """``vae_edge_runtime.load``, isolated where the command line says so.

    Raises:
        BundleError, OptionError, ProviderUnavailable, MissingDependency: as ``vae_edge_runtime.load``.
    """
    return vae_edge_runtime.load(bundle, **options, **isolation())
