"""Every output of every graph against PyTorch in float64, on real rows and on probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import BackendError, ParityFailed
from vae_edge_runtime.format.figures import Parity
from vae_edge_runtime.format.specs import Signature
from vae_edge_runtime.verification import max_errors

from ..rows import Feeds, rows_of
from .probes import Latents, Probe, ask_torch
from .reference import Reference, run_backend

__all__ = ["Compared", "Latents", "Reference", "check_parity", "graph_feeds", "measure_parity", "run_backend"]

_BATCHES = (1, 5)
"""Batch sizes tried besides all rows at once; the graphs are traced with 3."""
_MEASURED_ROWS = 16
_PROBE_SLACK = 10.0
"""A probe may differ by this many times float32 PyTorch's own difference from float64."""


@dataclass(frozen=True)
class Compared:
    """What a comparison with PyTorch gave.

    Attributes:
        figures: per "graph.output".
        notes: in words, what could not be compared.
    """

    figures: dict[str, Parity]
    notes: tuple[str, ...]


def check_parity(
    backend: Backend,
    reference: Reference,
    feeds: Feeds,
    probe_rows: Mapping[str, NDArray[Any]],
    latents: Latents,
    *,
    noise: NDArray[np.float32] | None,
    rtol: float,
) -> Compared:
    """Figures per "graph.output".

    Real rows, at batch 1, 5 and all at once, must be within ``rtol``. Probes must be finite
    wherever PyTorch is, and within ``rtol`` or 10 times what float32 costs PyTorch itself.

    Args:
        feeds: real rows, and their conditions where the model takes any.
        probe_rows: from ``probes``.
        latents: (encode's first output) -> what to feed ``decode``.
        noise: (n, draws, *latent_shape) for the graph ``sampled``, where there is one.

    Raises:
        ParityFailed: after everything was measured; ``report`` holds the figures.
    """
    encoded = next(iter(reference.run("encode", feeds).values()))
    figures: dict[str, Parity] = {}
    problems: list[str] = []
    for graph, whole_feeds in graph_feeds(reference.signatures, feeds, latents(encoded), noise).items():
        wanted = reference.run(graph, whole_feeds)
        signature, count = reference.signatures[graph], len(next(iter(whole_feeds.values())))
        try:
            runs = [
                run_backend(backend, graph, signature, rows_of(whole_feeds, slice(4 * size)), rows=size)
                for size in dict.fromkeys(
                    min(size, count) for size in (*_BATCHES, reference.rows_at_once(graph, count))
                )
            ]
        except BackendError as error:
            problems.append(f"{graph} does not run at batch sizes {(*_BATCHES, count)}: {error}")
            continue
        for name, exact in wanted.items():
            if len(bad := np.flatnonzero(~np.isfinite(exact).reshape(len(exact), -1).all(1))):
                problems.append(
                    f"PyTorch itself gives a non-finite {graph}.{name} on {len(bad)} of {count} real rows, row "
                    f"{bad[0]} first: drop those rows, or look at logarithms and divisions in the model"
                )
                continue
            errors = [max_errors(run[name], exact[: len(run[name])]) for run in runs]
            absolute, relative = max(e[0] for e in errors), max(e[1] for e in errors)
            figures[f"{graph}.{name}"] = Parity(absolute, relative, rtol, reference.precision, count)
            if not relative <= rtol:
                problems.append(f"{graph}.{name} differs by {relative:.2g} (tolerance {rtol:g})")
    asked, notes = ask_torch(reference, feeds, probe_rows)
    for probe in asked:
        problems += _probe_problems(backend, reference.signatures[probe.graph], probe, rtol)
    if problems:
        raise ParityFailed(
            "the exported graphs do not match PyTorch: " + "; ".join(problems[:6]) + ". Nothing was written",
            report=figures,
        )
    return Compared(figures, tuple(notes))


def graph_feeds(
    signed: Mapping[str, Signature], feeds: Feeds, latents: NDArray[Any], noise: NDArray[np.float32] | None
) -> dict[str, Feeds]:
    """What to feed each graph: raw rows, ``latents`` to ``decode`` and ``noise`` to ``sampled``."""
    beside = {name: np.resize(x, (len(latents), *x.shape[1:])) for name, x in feeds.items() if name != "x"}
    found: dict[str, Feeds] = {"encode": feeds, "score": feeds}
    found["decode"] = {signed["decode"].inputs[0].name: latents, **beside}
    if noise is not None:
        found["sampled"] = {**feeds, "noise": noise}
    return found


def measure_parity(
    backend: Backend, reference: Reference, by_graph: Mapping[str, Feeds], probe_rows: Mapping[str, NDArray[Any]]
) -> dict[str, Parity]:
    """Figures per "graph.output" of a reduced variant, which has gates of its own: no tolerance is held.

    Args:
        by_graph: from ``graph_feeds``. probe_rows: from ``probes``.

    Raises:
        ParityFailed: an output is not finite on a probe where PyTorch's is.
    """
    figures: dict[str, Parity] = {}
    for graph, feeds in by_graph.items():
        wanted = reference.run(graph, feeds)
        rows = reference.rows_at_once(graph, _MEASURED_ROWS)
        found = run_backend(backend, graph, reference.signatures[graph], feeds, rows=rows)
        for name, exact in wanted.items():
            absolute, relative = max_errors(found[name], exact)
            figures[f"{graph}.{name}"] = Parity(absolute, relative, None, reference.precision, len(exact))
    for probe in ask_torch(reference, by_graph["score"], probe_rows)[0]:
        values = run_backend(backend, probe.graph, reference.signatures[probe.graph], probe.feeds, rows=1)
        for name, value in values.items():
            if (np.isfinite(probe.exact[name]) & ~np.isfinite(value)).any():
                raise ParityFailed(
                    f"{probe.graph}.{name} is not finite on a '{probe.label}' row where PyTorch is. Nothing was "
                    "written",
                    report=figures,
                )
    return figures


def _probe_problems(backend: Backend, signature: Signature, probe: Probe, rtol: float) -> list[str]:
    """Where the graph is not finite, or another number, though PyTorch gives a finite one."""
    try:
        values = run_backend(backend, probe.graph, signature, probe.feeds, rows=1)
    except BackendError as error:
        return [f"{probe.graph} fails on a '{probe.label}' row where PyTorch does not: {error}"]
    problems = []
    for name, value in values.items():
        exact, single = probe.exact[name], probe.single[name]
        where = np.isfinite(exact) & np.isfinite(single)
        if not np.isfinite(value[where]).all():
            problems.append(f"{probe.graph}.{name} is not finite on a '{probe.label}' row where PyTorch is")
        elif where.any():
            relative = _relative(value, exact, where)
            allowed = max(rtol, _PROBE_SLACK * _relative(single, exact, where))
            if not relative <= allowed:
                problems.append(
                    f"{probe.graph}.{name} differs by {relative:.2g} on a '{probe.label}' row (allowed {allowed:.2g})"
                )
    return problems


def _relative(value: NDArray[Any], exact: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """Largest relative difference of the elements at hand."""
    return max_errors(np.where(where, value, 0)[None], np.where(where, exact, 0)[None])[1]
