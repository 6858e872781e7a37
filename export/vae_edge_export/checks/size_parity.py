"""Encode and decode against PyTorch at other heights and widths, and what a device proves itself with there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import BackendError, ParityFailed
from vae_edge_runtime.format.figures import Parity
from vae_edge_runtime.format.sizes import FREE_GRAPHS, Size, axis_names, signature_at
from vae_edge_runtime.format.specs import Layout, Signature, TensorSpec, element_count
from vae_edge_runtime.sampling.noise import standard_normal
from vae_edge_runtime.verification import max_errors

from ..effort import is_costly, rows_affordable
from ..graphs.build import BuiltGraphs
from ..graphs.free_size import SizePlan, rows_at
from ..rows import ExportRows, rows_of
from ..tracing.trace import FreeAxis
from .kept import KeptRows, Outputs
from .reference import Reference, run_backend

Array = NDArray[Any]
ROWS = 2
"""Rows of each size: one alone, and both at once."""
GOLDEN_ROWS = 1
_OF_ROWS = ("encode", "score")


@dataclass(frozen=True, eq=False)
class SizeFigures:
    """What one variant gave at one size.

    Attributes:
        parity: per "graph.output". golden: per graph, the outputs of ``GOLDEN_ROWS`` rows, float32.
        tolerance: per "graph.output", what another engine may differ by.
    """

    parity: dict[str, Parity]
    golden: dict[str, Outputs]
    tolerance: dict[str, float]


def _free_axes(built: BuiltGraphs, plan: SizePlan, layout: Layout) -> dict[str, dict[str, dict[int, FreeAxis]]]:
    """Per graph of free size, per tensor: its free axes."""
    ratio = [side // across for side, across in zip(plan.base, built.latent.shape[-2:], strict=True)]
    steps = dict(zip(("height", "width"), plan.multiple, strict=True))
    for name, multiple, each in zip(("latent_height", "latent_width"), plan.multiple, ratio, strict=True):
        steps[name] = multiple // each

    def axes_of(tensor: TensorSpec) -> dict[int, FreeAxis]:
        names = axis_names(tensor.name, len(tensor.shape), layout)
        return {axis: FreeAxis(name, steps[name]) for axis, name in names.items()}

    return {graph: {t.name: axes_of(t) for side in built.signatures[graph] for t in side} for graph in FREE_GRAPHS}


def feeds_at(rows: ExportRows, size: Size, count: int = ROWS) -> dict[str, Array]:
    """Calibration rows cut or mirrored to a height and width, and their conditions."""
    feeds = rows_of(rows.calibration, slice(count))
    return feeds | {"x": rows_at(feeds["x"], rows.row.layout, size)}


def traced_with(
    built: BuiltGraphs, rows: ExportRows
) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, dict[int, FreeAxis]]]]:
    """Per graph, the rows it is traced with, and its free axes: small pictures where height and width are free."""
    if built.sizes is None:
        return built.examples, {}
    size = built.sizes.traced
    feeds = feeds_at(rows, size, 3)
    z = signature_at(built.signatures["decode"], rows.row, built.latent.shape, size).inputs[0]
    beside = {name: x for name, x in feeds.items() if name != "x"}
    decode_feeds = {z.name: np.zeros((len(feeds["x"]), *z.shape), z.dtype), **beside}
    examples = {**built.examples, "encode": feeds, "decode": decode_feeds}
    return examples, _free_axes(built, built.sizes, rows.row.layout)


def single_beyond(built: BuiltGraphs, rows: ExportRows) -> dict[str, int]:
    """Of a costly model of free size, per graph the most values of a row that are compared with PyTorch in float64.

    A graph of free size runs the same operations at every size. Where the smaller sizes hold to float64, PyTorch in
    float32 shows at the larger ones what depends on the size: a shape that was frozen, and rounding that grows with it.
    """
    if built.sizes is None or not is_costly(built.multiplications):
        return {}
    smaller = [size for size in built.sizes.others if math.prod(size) < math.prod(built.sizes.base)]
    if not smaller:
        return {}
    largest = max(smaller, key=math.prod)
    return {graph: _values(built, rows, graph, largest) for graph in FREE_GRAPHS}


def _values(built: BuiltGraphs, rows: ExportRows, graph: str, size: Size) -> int:
    signature = signature_at(built.signatures[graph], rows.row, built.latent.shape, size)
    return element_count(signature.inputs[0].shape)


def reference_of(
    built: BuiltGraphs, rows: ExportRows, examples: Mapping[str, Mapping[str, Array]], singles: KeptRows | None
) -> Reference:
    """The torch graphs that every gate compares with.

    Args:
        examples: per graph, rows it was traced with. singles: outputs in float32 that are known, of a costly model.
    """
    at: dict[str, Signature] = {}
    if built.sizes is not None:
        at = {
            graph: signature_at(built.signatures[graph], rows.row, built.latent.shape, built.sizes.traced)
            for graph in FREE_GRAPHS
        }
    if singles is not None and rows.held_out:  # whose first row gates ask for again
        first = rows_of(rows.held_out, slice(1))
        examples = {graph: first if graph in _OF_ROWS and graph not in at else x for graph, x in examples.items()}
    return Reference.of(
        built.modules, built.signatures, examples, built.row_bytes,
        at=at, single_beyond=single_beyond(built, rows), singles=singles,
    )  # fmt: skip


def held_to(built: BuiltGraphs, reference: Reference) -> str:
    """In words, at which sizes PyTorch in float32 is the reference; empty where float64 is it at every size."""
    if not reference.single_beyond or built.sizes is None:
        return ""
    small = [size for size in built.sizes.others if math.prod(size) < math.prod(built.sizes.base)]
    base, listed = ("x".join(map(str, size)) for size in (built.sizes.base, max(small, key=math.prod)))
    return (
        f"encode and decode are compared with PyTorch in float64 up to {listed}, and in float32 with norms in "
        f"float64 at {base} and above: a graph of free size runs the same operations at every size"
    )


def compare_sizes(
    backend: Backend,
    reference: Reference,
    built: BuiltGraphs,
    rows: ExportRows,
    *,
    rtol: float | None,
    tolerance: Callable[[str], float],
    golden_backend: Backend | None = None,
) -> dict[Size, SizeFigures]:
    """Figures per size of ``built.sizes``, each of real rows and of one latent drawn from N(0, I).

    Args:
        rtol: limit of every output; None: none is held, as of a variant that has a gate of its own.
        tolerance: "graph.output" to what another engine may differ by.
        golden_backend: what golden outputs come from; None: PyTorch.

    Raises:
        ParityFailed: an output differs by more than ``rtol``, or a graph does not run at a size.
    """
    figures: dict[Size, SizeFigures] = {}
    for size in built.sizes.others if built.sizes else ():
        signatures = {g: signature_at(built.signatures[g], rows.row, built.latent.shape, size) for g in FREE_GRAPHS}
        area = size[0] * size[1] / (built.sizes.base[0] * built.sizes.base[1]) if built.sizes else 1.0
        few = rows_affordable(int(3 * built.multiplications * area), most=ROWS, least=1)
        feeds = feeds_at(rows, size, few)
        parity, encoded = _compare(backend, reference, "encode", signatures, feeds, rtol, size)
        latents = _latents(next(iter(encoded.values())), drawn=built.vae.kind == "gaussian" and few == ROWS)
        beside = {name: np.resize(x, (len(latents), *x.shape[1:])) for name, x in feeds.items() if name != "x"}
        decode_feeds = {signatures["decode"].inputs[0].name: latents, **beside}
        more, decoded = _compare(backend, reference, "decode", signatures, decode_feeds, rtol, size)
        parity |= more
        golden = {"encode": _first(encoded), "decode": _first(decoded)}
        if golden_backend is not None:
            golden["encode"] = run_backend(golden_backend, "encode", signatures["encode"], _first(feeds), rows=1)
            z = {**_first(decode_feeds), signatures["decode"].inputs[0].name: next(iter(golden["encode"].values()))}
            golden["decode"] = run_backend(golden_backend, "decode", signatures["decode"], z, rows=1)
        figures[size] = SizeFigures(parity, golden, {name: tolerance(name) for name in parity})
    return figures


def _compare(
    backend: Backend,
    reference: Reference,
    graph: str,
    signatures: Mapping[str, Signature],
    feeds: Mapping[str, Array],
    rtol: float | None,
    size: Size,
) -> tuple[dict[str, Parity], Outputs]:
    signature, count = signatures[graph], len(next(iter(feeds.values())))
    exact = reference.run(graph, feeds, signature)
    where = f"at {'x'.join(map(str, size))} (height x width)"
    try:
        runs = [run_backend(backend, graph, signature, feeds, rows=rows) for rows in dict.fromkeys((1, count))]
    except (BackendError, ValueError) as error:
        problem = f"the graph '{graph}' does not run {where}: {error}. Nothing was written"
        raise ParityFailed(problem, report={}) from error
    precision = reference.precision_of(graph, signature)
    if rtol is not None and precision != reference.precision and not _all_within(rtol, runs, exact):
        exact, precision = reference.run(graph, feeds, signature, double=True), reference.precision
    figures = {}
    for name, wanted in exact.items():
        for run in runs:
            if run[name].shape != wanted.shape:
                raise ParityFailed(
                    f"{graph}.{name} has shape {run[name].shape} {where}, and PyTorch's has {wanted.shape}: a size was "
                    "frozen into the graph. Nothing was written",
                    report={},
                )
        errors = [max_errors(run[name], wanted) for run in runs]
        absolute, relative = (max(error[i] for error in errors) for i in (0, 1))
        figures[f"{graph}.{name}"] = Parity(absolute, relative, rtol, precision, count)
    if lost := [name for name, p in figures.items() if not np.isfinite(p.max_relative)]:
        problem = f"{lost[0]} is not finite {where} where PyTorch is. Nothing was written"
        raise ParityFailed(problem, report=figures)
    if rtol is not None and (wrong := [name for name, p in figures.items() if not p.max_relative <= rtol]):
        listed = "; ".join(f"{name} differs by {figures[name].max_relative:.2g}" for name in wrong)
        raise ParityFailed(
            f"the exported graphs do not match PyTorch {where}: {listed} (tolerance {rtol:g}). Nothing was written",
            report=figures,
        )
    return figures, {name: x if x.dtype.kind in "ui" else x.astype(np.float32) for name, x in exact.items()}


def _all_within(rtol: float, runs: Sequence[Outputs], exact: Outputs) -> bool:
    return all(
        run[name].shape == wanted.shape and max_errors(run[name], wanted)[1] <= rtol
        for run in runs
        for name, wanted in exact.items()
    )


def _latents(encoded: Array, *, drawn: bool) -> Array:
    """Codes of the rows, and one draw from N(0, I) beside them where it is wanted."""
    if not drawn:
        return encoded
    latent = standard_normal(encoded[0].size, seed=1).reshape(1, *encoded.shape[1:])
    return np.concatenate([encoded.astype(np.float32), latent.astype(np.float32)])


def _first(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {name: x[:GOLDEN_ROWS] for name, x in feeds.items()}
