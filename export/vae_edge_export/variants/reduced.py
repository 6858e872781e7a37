"""Variants in fewer bits: searched among candidates, proven against fp32 by their gate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import ParityFailed, VerdictFailed
from vae_edge_runtime.format.figures import Fidelity, Parity, Verdict
from vae_edge_runtime.scoring.calibrate import Calibrated
from vae_edge_runtime.scoring.heads import head_scores
from vae_edge_runtime.verification import max_errors

from ..agreement import rank_correlation
from ..bundling.finished_variant import FinishedVariant
from ..bundling.split_weights import split_and_scan
from ..checks.decisions import find_traps, score_outputs, simple_heads, torch_outputs
from ..checks.in_memory import in_memory
from ..checks.parity import graph_feeds, measure_parity, run_backend
from ..checks.probes import ask_torch
from ..checks.size_parity import compare_sizes
from ..checks.verdict import measure_verdict
from ..gates import figures, problems
from ..passes.clean import strip_and_name
from ..precision.activations import first_not_finite, session_of
from ..precision.baseline import Fp32Baseline, measure_baseline
from ..precision.fidelity import compare, observe
from ..precision.search import Candidate, ReducedPrecision, search
from .builder import Array, Outputs, RunGraph, VariantBuilder

onnxruntime = require("onnxruntime", extra="export", why="exporting")

_GOLDEN_FLOOR: Mapping[ReducedPrecision, float] = {"fp16": 2e-2, "int8": 5e-2, "int8-cpu": 5e-2}
_GOLDEN_ROOM = 4.0
"""Another engine may differ by so many times what an unoptimised graph does here, and by the floor at least: an
int8 value at the edge of a step falls on either side of it. Of fp16 0.007 was measured between onnxruntime on x86,
which keeps float32 between nodes, and on aarch64, which does not."""


def build_reduced(
    builder: VariantBuilder, models: Mapping[str, onnx.ModelProto], fp32_backend: Backend, fp32: FinishedVariant
) -> dict[str, FinishedVariant]:
    """Every variant asked for besides fp32, by name.

    Args:
        models: the cleaned-up graphs. fp32_backend: runs the fp32 graphs. fp32: the finished fp32 variant.

    Raises:
        VerdictFailed: a gate is missed; the message names the figures and the layers to blame.
    """
    names = [name for name in builder.config.precisions if name != "fp32"]
    if not names:
        return {}
    baseline = measure_baseline(
        builder.built, models, builder.rows, builder.config, fp32_backend, builder.latents, _finite_probes(builder)
    )
    return {name: _build_one(builder, name, baseline, fp32_backend, fp32) for name in names}


def _finite_probes(builder: VariantBuilder) -> list[Array]:
    """The probe rows that PyTorch has finite scores for; ranges and overflows are looked at on no others."""
    asked, _ = ask_torch(builder.reference, builder.parity_feeds, builder.probe_rows)
    return [probe.feeds["x"] for probe in asked if probe.graph == "score" and probe.is_finite]


def _build_one(
    builder: VariantBuilder,
    name: ReducedPrecision,
    baseline: Fp32Baseline,
    fp32_backend: Backend,
    fp32: FinishedVariant,
) -> FinishedVariant:
    built, timer = builder.built, builder.timer
    with timer(f"{name}: make"):
        candidate = search(baseline, builder.config.gate(name), precision=name, progress=timer.say)
    models = {graph: strip_and_name(model, graph=graph) for graph, model in candidate.models.items()}
    graphs = split_and_scan(models, prefix=name, pair=builder.pair, sizes=built.dimensions(builder.rows.row))
    proving = timer(f"{name}: prove")
    with proving, in_memory(graphs.joined) as shipped, in_memory(candidate.measured) as measured:
        feeds = builder.parity_feeds
        latents = builder.latents(next(iter(builder.reference.run("encode", feeds).values())))
        feeds_by_graph = graph_feeds(built.signatures, feeds, latents, builder.noise(feeds))
        parity = measure_parity(measured, builder.reference, feeds_by_graph, builder.probe_rows)
        _check_finite(name, parity, candidate, feeds_by_graph)
        calibrated = builder.calibrate(shipped, name)
        traps = find_traps(shipped, built, calibrated, builder.rows)
        fidelity = _fidelity(builder, measured, fp32_backend, calibrated, fp32, traps)
        _check_gate(builder, name, candidate, fidelity)
        verdict, warnings = _verdict(builder, name, measured, fp32_backend, calibrated, fp32)
        golden = builder.golden_outputs(_runner(builder, shipped))
        tolerance = _tolerances(builder, name, candidate, golden)
        sizes = compare_sizes(
            measured, builder.reference, built, builder.rows, rtol=None, tolerance=tolerance.__getitem__,
            golden_backend=shipped,
        )  # fmt: skip
    return builder.finish(
        name,
        graphs,
        calibrated,
        parity=parity,
        verdict=verdict,
        traps=traps,
        golden=golden,
        tolerance=tolerance,
        reduction=candidate.reduction,
        fidelity=fidelity,
        warnings=warnings,
        sizes=sizes,
    )


def _check_finite(
    name: ReducedPrecision, parity: Mapping[str, Parity], candidate: Candidate, feeds: Mapping[str, Mapping[str, Array]]
) -> None:
    """Refuse a variant that is not finite on a real row, or a latent drawn from the prior, where PyTorch is.

    Raises:
        ParityFailed: it is not; the message names the layer.
    """
    for output, compared in parity.items():
        if not np.isfinite(compared.max_relative):
            graph = output.partition(".")[0]
            node = first_not_finite(candidate.measured[graph], feeds[graph])
            raise ParityFailed(
                f"variant '{name}': {output} is not finite on rows or latents where PyTorch is. The first layer to "
                f"overflow is '{(node or 'unknown').removeprefix('node_')}': float16 ends at 65504. Give calibration "
                "rows on which it is as large, so that it is kept in float32, or leave the variant out. Nothing was "
                "written",
                report=parity,
            )


def _fidelity(
    builder: VariantBuilder,
    measured: Backend,
    fp32_backend: Backend,
    calibrated: Calibrated,
    fp32: FinishedVariant,
    traps: Mapping[str, Mapping[str, float]],
) -> Fidelity:
    """The variant beside fp32 on the held-out rows, each with its own threshold of the default head."""
    head = builder.built.score.heads[0]
    held_out = builder.rows.held_out
    return compare(
        observe(measured, builder.built, held_out),
        observe(fp32_backend, builder.built, held_out),
        builder.rows.row,
        thresholds=(calibrated.by_head[head].threshold, fp32.calibrated.by_head[head].threshold),
        labels=builder.rows.labels,
        traps=(traps[head], fp32.variant.traps[head]),
    )


def _check_gate(builder: VariantBuilder, name: ReducedPrecision, candidate: Candidate, fidelity: Fidelity) -> None:
    gate = builder.config.gate(name)
    if missed := problems(fidelity, gate):
        raise VerdictFailed(
            f"variant '{name}' ({candidate.reduction.scheme}) misses its gate: {'; '.join(missed)}. "
            f"Layers that cost most: {'; '.join(candidate.blame()) or 'none stands out'}. Give calibration "
            "rows that show the whole range of normal ones, leave the variant out of the precisions, or set "
            "its gate. Nothing was written",
            report=tuple(figures(fidelity, gate)),
        )


def _verdict(
    builder: VariantBuilder,
    name: ReducedPrecision,
    measured: Backend,
    fp32_backend: Backend,
    calibrated: Calibrated,
    fp32: FinishedVariant,
) -> tuple[Verdict, tuple[str, ...]]:
    """The default head against PyTorch's; in words, every further head that ranks unlike fp32's."""
    built, held_out = builder.built, builder.rows.held_out
    heads = simple_heads(built)
    scores = head_scores(built.score, heads, score_outputs(measured, built, held_out), calibrated.fitted)
    fp32_outputs = score_outputs(fp32_backend, built, held_out)
    fp32_scores = head_scores(built.score, heads, fp32_outputs, fp32.calibrated.fitted)
    torch_scores = torch_outputs(builder.reference, built, held_out)["score"]
    default, limit = heads[0], builder.config.gate(name).min_rank_correlation
    thresholds = (calibrated.by_head[default].threshold, fp32.calibrated.by_head[default].threshold)
    verdict = measure_verdict(scores[default], torch_scores, builder.rows.labels, thresholds=thresholds)
    correlations = {head: rank_correlation(scores[head], fp32_scores[head]) for head in heads[1:]}
    warnings = tuple(
        f"variant '{name}': head '{head}' ranks rows unlike fp32 (rank correlation {correlation:.4f}, the gate of the "
        f"default head is {limit:g})"
        for head, correlation in correlations.items()
        if not correlation >= limit
    )
    return verdict, warnings


def _tolerances(
    builder: VariantBuilder, name: ReducedPrecision, candidate: Candidate, golden: Outputs
) -> dict[str, float]:
    """What another engine may differ by: from the same graphs run here without any optimisation."""
    sessions = {
        graph: session_of(model, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
        for graph, model in candidate.measured.items()
    }

    def run(graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [t.name for t in builder.built.signatures[graph].outputs]
        return dict(zip(names, sessions[graph].run(names, dict(feeds)), strict=True))

    unoptimised = builder.golden_outputs(run)
    return {
        f"{graph}.{output}": max(_GOLDEN_FLOOR[name], _GOLDEN_ROOM * max_errors(unoptimised[graph][output], array)[1])
        for graph, outputs in golden.items()
        for output, array in outputs.items()
    }


def _runner(builder: VariantBuilder, backend: Backend) -> RunGraph:
    built = builder.built
    return lambda graph, feeds: run_backend(
        backend, graph, built.signatures[graph], feeds, rows=built.rows_at_once(graph)
    )
