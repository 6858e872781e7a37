"""Every output of every graph against PyTorch in float64, on real rows and on probes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import BackendError, ParityFailed
from vae_edge_runtime.format.figures import Parity
from vae_edge_runtime.format.specs import InputSpec, Signature
from vae_edge_runtime.sampling.noise import standard_normal
from vae_edge_runtime.verification import max_errors

from ..rows import Feeds, rows_of

Outputs = dict[str, NDArray[Any]]
Latents = Callable[[NDArray[Any]], NDArray[Any]]

_BATCHES = (1, 5)
"""Batch sizes tried besides all rows at once; the graphs are traced with 3."""
_MEASURED_ROWS = 16
_PROBE_SLACK = 10.0
"""A probe may differ by this many times float32 PyTorch's own difference from float64."""


@dataclass(frozen=True)
class Reference:
    """The torch graphs at float64 (float32 where the module cannot be converted) and at float32."""

    modules: Mapping[str, nn.Module]
    exact: Mapping[str, nn.Module]
    signatures: Mapping[str, Signature]
    precision: Literal["float64", "float32"]

    @classmethod
    def of(
        cls, modules: Mapping[str, nn.Module], signatures: Mapping[str, Signature], examples: Mapping[str, Feeds]
    ) -> Reference:
        """Try float64 on example inputs; a module with float32 written into its code keeps float32."""
        try:
            exact = copy.deepcopy(dict(modules))  # in one go: the model they share is copied once
            for module in exact.values():
                module.double()
            for name, module in exact.items():
                run_torch(module, signatures[name], examples[name], dtype=torch.float64)
        except Exception:  # whatever a foreign module raises; the report says "float32"
            return cls(modules, modules, signatures, "float32")
        return cls(modules, exact, signatures, "float64")

    def run(self, graph: str, feeds: Feeds) -> Outputs:
        """Reference outputs by name."""
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        return run_torch(self.exact[graph], self.signatures[graph], feeds, dtype=dtype)

    def run_float32(self, graph: str, feeds: Feeds) -> Outputs:
        """PyTorch's own float32 outputs by name."""
        return run_torch(self.modules[graph], self.signatures[graph], feeds, dtype=torch.float32)


def run_torch(module: nn.Module, signature: Signature, feeds: Feeds, *, dtype: torch.dtype, rows: int = 256) -> Outputs:
    """Outputs of a torch graph by name, computed ``rows`` at a time."""
    pieces = []
    count = len(next(iter(feeds.values())))
    with torch.no_grad():
        for start in range(0, count, rows):
            parts = [torch.from_numpy(np.array(feeds[t.name][start : start + rows])) for t in signature.inputs]
            out = module(*(part.to(dtype) if part.is_floating_point() else part for part in parts))
            pieces.append([t.numpy() for t in (out if isinstance(out, tuple) else (out,))])
    return {t.name: np.concatenate([p[i] for p in pieces]) for i, t in enumerate(signature.outputs)}


def run_backend(backend: Backend, graph: str, signature: Signature, feeds: Feeds, *, rows: int) -> Outputs:
    """Outputs of an artefact's graph by name, ``rows`` at a time."""
    names = [t.name for t in signature.outputs]
    count = len(next(iter(feeds.values())))
    pieces = [backend.run(graph, rows_of(feeds, slice(i, i + rows)), names) for i in range(0, count, rows)]
    return {name: np.concatenate([p[i] for p in pieces]) for i, name in enumerate(names)}


def probes(spec: InputSpec, *, whole: bool = False) -> dict[str, NDArray[Any]]:
    """Rows no data set holds and every camera sends: black, white, mid grey, noise, far too large.

    ``whole``: rows are classes, so whole numbers within the range seen.
    """
    dtype = np.dtype(spec.dtype)
    low, high = spec.low, max(spec.high, spec.low + 1e-3)
    noise = standard_normal(int(np.prod(spec.shape)), seed=0).reshape(spec.shape).astype(np.float64)
    levels = {"zero": 0.0, "low": low, "high": high, "middle": (low + high) / 2}
    found = {name: np.full(spec.shape, value) for name, value in levels.items()}
    found["noise"] = (low + high) / 2 + noise * (high - low) / 4
    if whole:
        found = {name: np.clip(np.round(row), low, spec.high) for name, row in found.items()}
    elif dtype.kind == "f":
        found["large"] = 100.0 * (high - low) * noise
    else:
        found = {name: np.clip(np.round(row), 0, 255) for name, row in found.items()}
    return {name: row.astype(dtype) for name, row in found.items()}


def check_parity(
    backend: Backend,
    reference: Reference,
    feeds: Feeds,
    spec: InputSpec,
    latents: Latents,
    *,
    noise: NDArray[np.float32] | None,
    rtol: float,
    whole: bool,
) -> dict[str, Parity]:
    """Figures per "graph.output".

    Real rows, at batch 1, 5 and all at once, must be within ``rtol``. Probes must be finite
    wherever PyTorch is, and within ``rtol`` or 10 times what float32 costs PyTorch itself.

    Args:
        feeds: real rows, and their conditions where the model takes any.
        latents: (encode's first output) -> what to feed ``decode``.
        noise: (n, draws, *latent_shape) for the graph ``sampled``, where there is one.

    Raises:
        ParityFailed: after everything was measured; ``report`` holds the figures.
    """
    probe_rows = probes(spec, whole=whole)
    encoded = next(iter(reference.run("encode", feeds).values()))
    figures: dict[str, Parity] = {}
    problems: list[str] = []
    for graph, whole_feeds in graph_feeds(reference.signatures, feeds, latents(encoded), noise).items():
        wanted = reference.run(graph, whole_feeds)
        signature, count = reference.signatures[graph], len(next(iter(whole_feeds.values())))
        try:
            runs = [
                run_backend(backend, graph, signature, rows_of(whole_feeds, slice(4 * size)), rows=size)
                for size in (*_BATCHES, count)
            ]
        except BackendError as error:
            problems.append(f"{graph} does not run at batch sizes {(*_BATCHES, count)}: {error}")
            continue
        for name, exact in wanted.items():
            errors = [max_errors(run[name], exact[: len(run[name])]) for run in runs]
            absolute, relative = max(e[0] for e in errors), max(e[1] for e in errors)
            figures[f"{graph}.{name}"] = Parity(absolute, relative, rtol, reference.precision, count)
            if not relative <= rtol:
                problems.append(f"{graph}.{name} differs by {relative:.2g} (tolerance {rtol:g})")
    for graph in ("encode", "score"):
        for label, row in probe_rows.items():
            one = {**rows_of(feeds, slice(1)), "x": row[None]}
            problems += _probe_problems(backend, reference, graph, label, one, rtol)
    if problems:
        raise ParityFailed(
            "the exported graphs do not match PyTorch: " + "; ".join(problems[:6]) + ". Nothing was written",
            report=figures,
        )
    return figures


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
        found = run_backend(backend, graph, reference.signatures[graph], feeds, rows=_MEASURED_ROWS)
        for name, exact in wanted.items():
            absolute, relative = max_errors(found[name], exact)
            figures[f"{graph}.{name}"] = Parity(absolute, relative, None, reference.precision, len(exact))
    for graph in ("encode", "score"):
        for label, row in probe_rows.items():
            one = {**rows_of(by_graph[graph], slice(1)), "x": row[None]}
            exact_outputs = reference.run(graph, one)
            for name, value in run_backend(backend, graph, reference.signatures[graph], one, rows=1).items():
                if np.isfinite(exact_outputs[name]).all() and not np.isfinite(value).all():
                    raise ParityFailed(
                        f"{graph}.{name} is not finite on a '{label}' row where PyTorch is. Nothing was written",
                        report=figures,
                    )
    return figures


def normal_latents(encoded: NDArray[Any]) -> NDArray[np.float32]:
    """Codes to feed a decoder of real-valued latents: encoded rows, draws from N(0, I), 3 sigma, the origin."""
    means = encoded.astype(np.float32)
    prior = standard_normal(8 * means[0].size, seed=1).reshape(8, *means.shape[1:])
    return np.concatenate([means, prior, 3 * prior[:2], np.zeros_like(prior[:1])])


def _probe_problems(backend: Backend, reference: Reference, graph: str, label: str, x: Feeds, rtol: float) -> list[str]:
    found = run_backend(backend, graph, reference.signatures[graph], x, rows=1)
    exact, single = reference.run(graph, x), reference.run_float32(graph, x)
    problems = []
    for name, value in found.items():
        if not np.isfinite(exact[name]).all() or not np.isfinite(single[name]).all():
            problems.append(f"PyTorch itself gives a non-finite {name} on a '{label}' row")
        elif not np.isfinite(value).all():
            problems.append(f"{graph}.{name} is not finite on a '{label}' row where PyTorch is")
        else:
            relative = max_errors(value, exact[name])[1]
            allowed = max(rtol, _PROBE_SLACK * max_errors(single[name], exact[name])[1])
            if not relative <= allowed:
                problems.append(f"{graph}.{name} differs by {relative:.2g} on a '{label}' row (allowed {allowed:.2g})")
    return problems
