"""The best fp16 and int8 graphs of a model: candidates are made, run on calibration rows, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vae_edge_export.agreement import rank_correlation
from vae_edge_export.checks.in_memory import in_memory
from vae_edge_runtime.format.figures import Fidelity, Reduction

from ..gates import Gate, problems
from . import half
from .activations import RANGE_METHODS, RangeMethod, largest_values
from .baseline import Array, Fp32Baseline, Models, scores_of
from .fidelity import compare, default_head_traps, observe, score_noise
from .int8 import Int8Builder
from .layers import RECURRENT, Layer, weight_bytes
from .quantise import Int8

Progress = Callable[[str], None]
ReducedPrecision = Literal["fp16", "int8", "int8-cpu"]

_SINGLE_LAYER_ROWS = 32
"""Rows that single layers are tried on, to put them in order."""
_RESAMPLES, _PASSING_SHARE = 200, 0.95
"""Of so many draws of as many rows as the gate is held on, the share that must keep its rank correlation."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """The graphs of a variant, and how they do on calibration rows.

    Attributes:
        models: what would ship. measured: what stands for it in measurements (see ``half``).
        missed: limits of the gate, in words. blame: gives the layers that cost most, in words.
    """

    models: Models
    measured: Models
    reduction: Reduction
    fidelity: Fidelity
    noise: float
    missed: list[str]
    blame: Callable[[], list[str]]


def search(baseline: Fp32Baseline, gate: Gate, *, precision: ReducedPrecision, progress: Progress) -> Candidate:
    """The best graphs of one precision; see ``search_half`` and ``search_int8``."""
    if precision == "fp16":
        return search_half(baseline, gate)
    return search_int8(baseline, gate, kind=precision, progress=progress)


def search_half(baseline: Fp32Baseline, gate: Gate) -> Candidate:
    """Every node of the network that is safe in float16."""
    models: Models = {}
    measured: Models = {}
    kept: dict[str, str] = {}
    reduced: set[str] = set()
    for graph, model in baseline.models.items():
        network = baseline.networks[graph]
        largest = largest_values(model, [baseline.range_feeds[graph], *baseline.probes[graph]])
        plan = half.plan(model, network.halvable("encoder", "decoder"), largest)
        models[graph], measured[graph] = half.to_half(model, plan), half.rounded(model, plan)
        if graph == "score":
            kept = {_name(node): reason for node, reason in plan.kept.items()}
            reduced = {layer.weight for layer in network.layers if layer.node in plan.nodes | plan.weights}
    layers = [layer for layer in baseline.networks["score"].layers if layer.weight in reduced]
    reduction = Reduction(
        scheme="fp16",
        activations="none",
        ranges="none",
        layers=len(layers),
        layers_total=len(baseline.networks["score"].layers),
        kept=kept,
        weight_bytes=weight_bytes(models["score"], layers),
        weight_bytes_fp32=weight_bytes(baseline.models["score"], layers),
    )

    def costs() -> dict[Layer, float]:
        return {
            layer: score_noise(
                scores_of(baseline, half.rounded(baseline.models["score"], half.only(layer.node))), baseline.fp32.score
            )
            for layer in layers
        }

    return _measured(baseline, gate, models, measured, reduction, lambda: _blame(costs()))


@dataclass(frozen=True, eq=False)
class _Trial:
    """One way to make the int8 graphs, and how the scores do; the rest of the figures take far longer.

    Attributes:
        layers: the candidates for int8, ``spared`` among them: those kept in float, with what each costs.
        promising: ranks would pass, with some room and on other rows.
    """

    method: RangeMethod
    layers: Sequence[Layer]
    spared: Mapping[Layer, float]
    noise: float
    promising: bool


def search_int8(baseline: Fp32Baseline, gate: Gate, *, kind: Int8, progress: Progress) -> Candidate:
    """The whole network in int8 by the best way of taking ranges; where the gate is missed, without the layers
    that are most sensitive for the work they are, then with only the encoder in int8 and the decoder in float16.

    Most candidates are judged by their scores alone, which takes a tenth of the time of all figures. Returns the
    first that passes with some room, else the one with the least noisy scores and what it missed: the gate proper
    is held on other rows.
    """
    builder = Int8Builder(baseline, kind)
    layers = builder.layers
    trials: list[_Trial] = []
    cost_of_layers: dict[RangeMethod, dict[Layer, float]] = {}

    def attempt(method: RangeMethod, layers: Sequence[Layer], spared: Mapping[Layer, float]) -> _Trial:
        half_decoder = not any(layer.part == "decoder" for layer in layers)
        scores = builder.scores(method, layers, spared=spared, half_decoder=half_decoder)
        fp32_scores = baseline.fp32.score
        promising = _ranks_pass(scores, fp32_scores, gate, baseline.gate_rows)
        trials.append(_Trial(method, layers, spared, score_noise(scores, fp32_scores), promising))
        return trials[-1]

    def costs(method: RangeMethod) -> dict[Layer, float]:
        if method not in cost_of_layers:
            progress(f"{kind}: which layers are sensitive")
            fp32_scores = baseline.fp32.score[:_SINGLE_LAYER_ROWS]
            cost_of_layers[method] = {
                layer: score_noise(builder.scores(method, [layer], rows=_SINGLE_LAYER_ROWS), fp32_scores)
                for layer in layers
                if layer.op_type not in RECURRENT
            }
        return cost_of_layers[method]

    def measured(trial: _Trial) -> Candidate:
        progress(f"{kind}: all figures")
        graphs = builder.graphs(trial.method, trial.layers, spared=trial.spared)
        return _measured(baseline, gate, *graphs, lambda: _blame(costs(trial.method)))

    for method in RANGE_METHODS if builder.static(layers) else RANGE_METHODS[:1]:
        progress(f"{kind}: ranges by {method}")
        attempt(method, layers, {})
    by_noise = sorted(trials, key=lambda trial: trial.noise)
    for trial in by_noise:
        if trial.promising and not (candidate := measured(trial)).missed:
            return candidate
    best_method = by_noise[0].method
    if not builder.static(layers):
        return measured(by_noise[0])
    for parts in (("encoder", "decoder"), ("encoder",)):
        part_layers = [layer for layer in layers if layer.part in parts]
        by_worth = builder.worth_sparing(part_layers, costs(best_method))
        for count in range(0 if parts == ("encoder",) else 1, len(by_worth) + 1):
            progress(f"{kind}: {' and '.join(parts)}, {count} layers spared")
            spared = {layer: costs(best_method)[layer] for layer in by_worth[:count]}
            trial = attempt(best_method, part_layers, spared)
            if trial.promising and not (candidate := measured(trial)).missed:
                return candidate
    return measured(min(trials, key=lambda trial: trial.noise))


def _ranks_pass(scores: Array, fp32_scores: Array, gate: Gate, gate_rows: int) -> bool:
    """Whether the scores' ranks keep the gate with some room, and would on other rows, of which there may be few.

    Of few rows a rank correlation varies: what had 0.9976 on 103 rows kept 0.995 on three of five draws of 25.
    """
    if not rank_correlation(scores, fp32_scores) >= gate.tightened().min_rank_correlation:
        return False
    if gate_rows >= len(scores):
        return True
    rng = np.random.default_rng(0)
    draws = (rng.choice(len(scores), gate_rows, replace=False) for _ in range(_RESAMPLES))
    kept = [rank_correlation(scores[rows], fp32_scores[rows]) >= gate.min_rank_correlation for rows in draws]
    return sum(kept) >= _PASSING_SHARE * _RESAMPLES


def _measured(
    baseline: Fp32Baseline,
    gate: Gate,
    models: Models,
    measured: Models,
    reduction: Reduction,
    blame: Callable[[], list[str]],
) -> Candidate:
    """Figures of a candidate on calibration rows, decisions at the same quantile of either's scores."""
    with in_memory(measured) as backend:
        observed = observe(backend, baseline.built, baseline.feeds)
        traps = default_head_traps(backend, baseline.built, baseline.feeds, baseline.row, classes=baseline.classes)
    quantile = 1 - baseline.false_positive_rate
    fidelity = compare(
        observed,
        baseline.fp32,
        baseline.row,
        thresholds=(float(np.quantile(observed.score, quantile)), float(np.quantile(baseline.fp32.score, quantile))),
        labels=None,
        traps=(traps, baseline.traps),
    )
    noise = score_noise(observed.score, baseline.fp32.score)
    return Candidate(models, measured, reduction, fidelity, noise, problems(fidelity, gate.tightened()), blame)


def _blame(costs: Mapping[Layer, float]) -> list[str]:
    worst = sorted(costs, key=lambda layer: -costs[layer])[:3]
    return [f"{layer} of the {layer.part}, {costs[layer]:.2%} of the scores' spread alone" for layer in worst]


def _name(node: str) -> str:
    return node.removeprefix("node_")
