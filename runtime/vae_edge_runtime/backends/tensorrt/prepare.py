"""Engines for all graphs of a bundle ahead of time, so that the first session does not wait for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import OptionError
from ...format.bundle import Bundle
from .binding import Binding, find_binding
from .builder import build
from .driver import process_driver
from .layers import Layer, engine_layers
from .options import BuildOptions
from .store import EngineStore, Machine

Step = Callable[[str, int, int], None]
"""Called with what is being done, the step of it, and its steps."""

_TRIED = "to see that it can be"
_FOR_CPUS = "int8-cpu"
"""The variant whose unsigned activations TensorRT refuses."""


@dataclass(frozen=True)
class PreparedEngine:
    """One graph of one variant.

    Attributes:
        built: False where a stored engine was there. reason: why it was built.
        path: None where it was built only to see that it can be.
        layers: what the engine says it holds, where they were asked for.
    """

    variant: str
    graph: str
    onnx_bytes: int
    engine_bytes: int
    seconds: float
    built: bool
    reason: str | None
    path: str | None
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Preparation:
    """What ``prepare_engines`` or ``check_engines`` did.

    Attributes:
        machine, folder: None for ``check_engines``. removed: engines that ``prune`` removed.
    """

    tensorrt: str
    machine: Machine | None
    folder: str | None
    options: BuildOptions
    engines: tuple[PreparedEngine, ...]
    removed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def prepare_engines(
    path: str | os.PathLike[str],
    *,
    variant: str = "auto",
    options: BuildOptions | None = None,
    folder: str | os.PathLike[str] | None = None,
    tf32: bool = False,
    layers: bool = False,
    prune: bool = False,
    progress: Step | None = None,
) -> Preparation:
    """Build and store, on this device, the engines of a variant that are not stored yet.

    Args:
        path: the bundle.
        variant: ``auto``: the one that ``load`` takes; ``all``: every one that TensorRT takes.
        options: the engines' limits; a stored engine with others is built again.
        folder: of the engines, as for ``EngineStore``; ``load`` looks where ``VAE_EDGE_CACHE`` says.
        tf32: for ``device="tensorrt-tf32"``. layers: also ask each engine for its layers.
        prune: first remove engines of other versions, drivers and boards.
        progress: told how far it is.

    Raises:
        ProviderUnavailable: no GPU, or no TensorRT of 10.3 or newer.
        BackendError: TensorRT refused a graph or failed.
        StorageError: an engine could not be stored.
        OptionError: the bundle has no such variant.
    """
    options = options or BuildOptions()
    with Bundle.open(path) as bundle:
        names = _variants(bundle, variant)
        driver = process_driver()
        binding = find_binding()
        store = EngineStore(binding, driver.device, folder, tf32=tf32, current=driver.current)
        removed = tuple(str(path) for path in store.prune()) if prune else ()
        engines = []
        for name, graph, raw, step in _graphs(bundle, names, progress):
            engine = store.get(graph, raw, options=options, progress=step, must_store=True, announce=False)
            table = engine_layers(engine.form, binding=binding, driver=driver, graph=graph) if layers else ()
            where = None if engine.path is None else str(engine.path)
            engines.append(
                PreparedEngine(
                    name, graph, len(raw), len(engine.form), engine.seconds, engine.built, engine.reason, where, table
                )
            )
        return Preparation(binding.version, store.machine, str(store.folder), options, tuple(engines), removed)


def check_engines(
    path: str | os.PathLike[str],
    *,
    variant: str = "auto",
    options: BuildOptions | None = None,
    tf32: bool = False,
    progress: Step | None = None,
    binding: Binding | None = None,
) -> Preparation:
    """See whether TensorRT RTX, which needs no GPU to build, takes every graph of a variant; keeps nothing.

    Arguments and errors as for ``prepare_engines``; ``binding`` is TensorRT RTX where None.
    """
    options, binding = options or BuildOptions(), binding or find_binding(rtx=True)
    engines = []
    with Bundle.open(path) as bundle:
        for name, graph, raw, step in _graphs(bundle, _variants(bundle, variant), progress):
            built = build(raw, options, binding=binding, graph=f"{name}/{graph}", tf32=tf32, progress=step)
            size = len(built.engine)
            engines.append(PreparedEngine(name, graph, len(raw), size, built.seconds, True, _TRIED, None))
    return Preparation(f"RTX {binding.version}", None, None, options, tuple(engines))


def graph_count(path: str | os.PathLike[str], variant: str) -> int:
    """Engines that ``prepare_engines`` makes of a bundle."""
    with Bundle.open(path) as bundle:
        return sum(len(bundle.manifest.variants[name].graphs) for name in _variants(bundle, variant))


def _variants(bundle: Bundle, variant: str) -> list[str]:
    if variant != "all":
        name = bundle.choose_variant(variant)
        if name == _FOR_CPUS:
            raise OptionError(f"{name} is made for CPUs, TensorRT refuses its unsigned activations: take int8 or fp16")
        return [name]
    return [name for name in sorted(bundle.manifest.variants) if name != _FOR_CPUS]


def _graphs(
    bundle: Bundle, names: Iterable[str], progress: Step | None
) -> Iterable[tuple[str, str, bytes, Step | None]]:
    for name in names:
        for graph in sorted(bundle.manifest.variants[name].graphs):
            step = None if progress is None else _labelled(progress, f"{name}/{graph}")
            yield name, graph, bundle.graph(name, graph), step


def _labelled(progress: Step, label: str) -> Step:
    return lambda phase, step, steps: progress(f"{label}: {phase}", step, steps)
