"""Every output of every graph against PyTorch in float64, on real rows and on probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import BackendError, ParityFailed
from vae_edge_runtime.format.figures import Parity
from vae_edge_runtime.format.specs import Signature
from vae_edge_runtime.verification import max_errors

from ..effort import is_costly
from ..rows import Feeds, rows_of
from .probes import Latents, Probe, ask_torch
from .reference import Reference, run_backend
from .rounding import allowed_relative, last_bits_moved, own_loss

__all__ = [
    "Compared",
    "Latents",
    "Reference",
    "check_parity",
    "compare_outputs",
    "graph_feeds",
    "measure_parity",
    "refuse_missed",
    "run_backend",
]

_BATCHES = (1, 5)
"""Batch sizes tried besides all rows at once; the graphs are traced with 3."""
_COSTLY_BATCHES = ((1, 1), (2, 256))
"""Of a costly model: batch sizes, and how many rows are run with each: one alone, and all of them in pairs."""
_MEASURED_ROWS = 16


@dataclass(frozen=True)
class Compared:
    """What a comparison with PyTorch gave.

    Attributes:
        figures: per "graph.output"; ``tolerance_relative`` is above ``rtol`` where float32 itself costs more.
        notes: in words, what could not be compared, and what float32 itself loses.
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

    Real rows, at batch 1, 5 and all at once, must be within ``rtol``, or within 10 times what float32 costs PyTorch
    itself (``rounding``). Probes must be finite wherever PyTorch is, and within the same.

    Args:
        feeds: real rows, and their conditions where the model takes any.
        probe_rows: from ``probes``.
        latents: (encode's first output) -> what to feed ``decode``.
        noise: (n, draws, *latent_shape) for the graph ``sampled``, where there is one.

    Raises:
        ParityFailed: after everything was measured; ``report`` holds the figures.
    """
    encoded = next(iter(reference.run("encode", feeds).values()))
    by_graph = graph_feeds(reference.signatures, feeds, latents(encoded), noise)
    figures, problems, notes = compare_outputs(backend, reference, by_graph, rtol=rtol)
    asked, dropped = ask_torch(reference, feeds, probe_rows)
    for probe in asked:
        problems += _probe_problems(backend, reference, probe, feeds, rtol)
    refuse_missed(figures, problems)
    return Compared(figures, (*notes, *dropped))


def compare_outputs(
    backend: Backend, reference: Reference, by_graph: Mapping[str, Feeds], *, rtol: float
) -> tuple[dict[str, Parity], list[str], list[str]]:
    """Figures per "graph.output" at batch 1, 5 and all at once, problems in words, and notes.

    An output may differ by ``rtol``, or by more where PyTorch's own float32 does.

    Args:
        by_graph: what to feed each graph.
    """
    figures: dict[str, Parity] = {}
    problems, notes = list[str](), list[str]()
    for graph, whole_feeds in by_graph.items():
        wanted = reference.run(graph, whole_feeds)
        signature, count = reference.signatures[graph], len(next(iter(whole_feeds.values())))
        try:
            runs = [
                run_backend(backend, graph, signature, rows_of(whole_feeds, slice(most)), rows=size)
                for size, most in _batches(reference, graph, count)
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
            absolute, relative = _largest_errors(runs, name, exact)
            allowed, precision = rtol, reference.precision_of(graph)
            if not relative <= rtol and precision != reference.precision:  # whose rounding it is float64 says
                exact, precision = reference.run(graph, whole_feeds, double=True)[name], reference.precision
                absolute, relative = _largest_errors(runs, name, exact)
            if not relative <= rtol:  # asked only here: float32 PyTorch on every row takes as long as the rest
                own = own_loss(reference.run_float32(graph, whole_feeds, plain=True)[name], exact)
                allowed = allowed_relative(rtol, own)
                what = f"{graph}.{name} differs by {relative:.2g}"
                if relative <= allowed:
                    notes.append(
                        f"{what} from PyTorch in float64, and PyTorch's own float32 by {own:.2g}: its value is what is "
                        "left of numbers that cancel (a posterior near N(0, I) has such a KL)"
                    )
                else:
                    problems.append(f"{what} (tolerance {allowed:.2g}, PyTorch's own float32 differs by {own:.2g})")
            figures[f"{graph}.{name}"] = Parity(absolute, relative, allowed, precision, count)
    return figures, problems, notes


def _batches(reference: Reference, graph: str, count: int) -> list[tuple[int, int]]:
    """Batch sizes, and how many rows are run with each."""
    costly = graph in reference.row_bytes and is_costly(reference.row_bytes[graph].multiplications)
    if graph in reference.single_beyond:  # two at once are run at a smaller size (size_parity)
        return [(1, count)]
    if costly and count > 1:
        return list(_COSTLY_BATCHES)
    sizes = dict.fromkeys(min(size, count) for size in (*_BATCHES, reference.rows_at_once(graph, count)))
    return [(size, 4 * size) for size in sizes]


def _largest_errors(runs: Sequence[Mapping[str, NDArray[Any]]], name: str, exact: NDArray[Any]) -> tuple[float, float]:
    """Absolute and relative, over runs of the first rows or of all."""
    errors = [max_errors(run[name], exact[: len(run[name])]) for run in runs]
    return max(e[0] for e in errors), max(e[1] for e in errors)


def refuse_missed(figures: Mapping[str, Parity], problems: Sequence[str]) -> None:
    """Nothing, where every output is within its tolerance.

    Raises:
        ParityFailed: there are problems; ``report`` holds the figures.
    """
    if problems:
        raise ParityFailed(
            "the exported graphs do not match PyTorch: " + "; ".join(problems[:6]) + ". Nothing was written",
            report=figures,
        )


def graph_feeds(
    signed: Mapping[str, Signature], feeds: Feeds, latents: NDArray[Any], noise: NDArray[np.float32] | None
) -> dict[str, Feeds]:
    """What to feed each graph: raw rows, ``latents`` to ``decode`` and ``noise`` to ``sampled``."""
    beside = {name: np.resize(x, (len(latents), *x.shape[1:])) for name, x in feeds.items() if name != "x"}
    by_graph: dict[str, Feeds] = {graph: feeds for graph in ("encode", "score") if graph in signed}
    by_graph["decode"] = {signed["decode"].inputs[0].name: latents, **beside}
    if noise is not None:
        by_graph["sampled"] = {**feeds, "noise": noise}
    return by_graph


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
            figures[f"{graph}.{name}"] = Parity(absolute, relative, None, reference.precision_of(graph), len(exact))
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


def _probe_problems(backend: Backend, reference: Reference, probe: Probe, feeds: Feeds, rtol: float) -> list[str]:
    """Where the graph is not finite, or another number, though PyTorch gives a finite one.

    A difference is relative to the size of the output on real rows too: a single logvar that happens to be 1e-3 is not
    asked for more digits than float32 gives beside logvars of size 1. What a row as flat as a norm's epsilon makes of
    rounding, PyTorch's own float32 shows by luck alone; what the last bits of the row itself do in float64 shows it.
    """
    try:
        values = run_backend(backend, probe.graph, reference.signatures[probe.graph], probe.feeds, rows=1)
    except BackendError as error:
        return [f"{probe.graph} fails on a '{probe.label}' row where PyTorch does not: {error}"]
    problems = []
    for name, value in values.items():
        exact, single = probe.exact[name], probe.single[name]
        where = np.isfinite(exact) & np.isfinite(single)
        if not np.isfinite(value[where]).all():
            problems.append(f"{probe.graph}.{name} is not finite on a '{probe.label}' row where PyTorch is")
            continue
        real = reference.run(probe.graph, feeds)[name]
        beside = np.concatenate([real, np.where(where, exact, 0)])
        relative = max_errors(np.concatenate([real, np.where(where, value, 0)]), beside)[1]
        if relative <= rtol:
            continue
        if probe.precision != reference.precision:  # whose rounding it is float64 says
            exact = reference.run(probe.graph, probe.feeds, double=True)[name]
            real = reference.run(probe.graph, feeds, double=True)[name]
            where = np.isfinite(exact) & np.isfinite(single)
            beside = np.concatenate([real, np.where(where, exact, 0)])
            relative = max_errors(np.concatenate([real, np.where(where, value, 0)]), beside)[1]
        own = own_loss(
            np.concatenate([reference.run_float32(probe.graph, feeds, plain=True)[name], np.where(where, single, 0)]),
            beside,
        )
        if not relative <= (allowed := allowed_relative(rtol, own)):
            exact_moved = reference.run(probe.graph, last_bits_moved(probe.feeds), double=True)[name]
            moved = max_errors(np.concatenate([real, np.where(where, exact_moved, 0)]), beside)[1]
            allowed = allowed_relative(rtol, max(own, moved))
        if not relative <= allowed:
            problems.append(
                f"{probe.graph}.{name} differs by {relative:.2g} on a '{probe.label}' row (allowed {allowed:.2g})"
            )
    return problems
