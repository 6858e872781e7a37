"""The best fp16 and int8 graphs of a model: candidates are made, run on calibration rows, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vae_edge_export.agreement import rank_correlation
from vae_edge_export.checks.in_memory import in_memory
from vae_edge_export.checks.parity import run_backend
from vae_edge_export.checks.traps import ROWS, spring_traps
from vae_edge_export.graphs.build import BuiltGraphs
from vae_edge_export.rows import Feeds, rows_of
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.manifest import Fidelity, Reduction
from vae_edge_runtime.format.specs import InputSpec

from ..gates import Gate, problems
from . import half
from .activations import RANGE_METHODS, RangeMethod, largest_values
from .fidelity import compare, observe, score_noise
from .int8 import Int8Maker
from .layers import RECURRENT, Layer, weight_bytes
from .material import Array, Material, Models, scores_of
from .quantise import Int8

Progress = Callable[[str], None]

_FEW = 32
"""Rows that single layers are tried on, to put them in order."""
_DRAWS, _SURE = 200, 0.95
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


def search_half(material: Material, gate: Gate) -> Candidate:
    """Every node of the network that is safe in float16."""
    models: Models = {}
    measured: Models = {}
    kept: dict[str, str] = {}
    reduced: set[str] = set()
    for graph, model in material.models.items():
        body = material.bodies[graph]
        largest = largest_values(model, [material.feeds[graph], *material.probes[graph]])
        plan = half.plan(model, body.halvable("encoder", "decoder"), largest)
        models[graph], measured[graph] = half.to_half(model, plan), half.rounded(model, plan)
        if graph == "score":
            kept = {_name(node): reason for node, reason in plan.kept.items()}
            reduced = {layer.weight for layer in body.layers if layer.node in plan.nodes | plan.weights}
    layers = [layer for layer in material.bodies["score"].layers if layer.weight in reduced]
    reduction = Reduction(
        scheme="fp16",
        activations="none",
        ranges="none",
        layers=len(layers),
        layers_total=len(material.bodies["score"].layers),
        kept=kept,
        weight_bytes=weight_bytes(models["score"], layers),
        weight_bytes_fp32=weight_bytes(material.models["score"], layers),
    )

    def costs() -> dict[Layer, float]:
        return {
            layer: score_noise(
                scores_of(material, half.rounded(material.models["score"], half.only(layer.node))), material.fp32.score
            )
            for layer in layers
        }

    return _measured(material, gate, models, measured, reduction, lambda: _blame(costs()))


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


def search_int8(material: Material, gate: Gate, *, kind: Int8, progress: Progress) -> Candidate:
    """The whole network in int8 by the best way of taking ranges; where the gate is missed, without the layers
    that are most sensitive for the work they are, then with only the encoder in int8 and the decoder in float16.

    Most candidates are judged by their scores alone, which takes a tenth of the time of all figures. Returns the
    first that passes with some room, else the one with the least noisy scores and what it missed: the gate proper
    is held on other rows.
    """
    maker = Int8Maker(material, kind)
    layers = maker.layers
    trials: list[_Trial] = []
    known: dict[RangeMethod, dict[Layer, float]] = {}

    def attempt(method: RangeMethod, layers: Sequence[Layer], spared: Mapping[Layer, float]) -> _Trial:
        half_decoder = not any(layer.part == "decoder" for layer in layers)
        found = maker.score_of(method, layers, spared=spared, half_decoder=half_decoder)
        exact = material.fp32.score
        promising = _ranks_pass(found, exact, gate, material.judged)
        trials.append(_Trial(method, layers, spared, score_noise(found, exact), promising))
        return trials[-1]

    def costs(method: RangeMethod) -> dict[Layer, float]:
        if method not in known:
            progress(f"{kind}: which layers are sensitive")
            exact, feedforward = material.fp32.score[:_FEW], [one for one in layers if one.op_type not in RECURRENT]
            known[method] = {
                layer: score_noise(maker.score_of(method, [layer], rows=_FEW), exact) for layer in feedforward
            }
        return known[method]

    def measured(trial: _Trial) -> Candidate:
        progress(f"{kind}: all figures")
        made = maker.make(trial.method, trial.layers, spared=trial.spared)
        return _measured(material, gate, *made, lambda: _blame(costs(trial.method)))

    for way in RANGE_METHODS if maker.static(layers) else RANGE_METHODS[:1]:
        progress(f"{kind}: ranges by {way}")
        attempt(way, layers, {})
    by_noise = sorted(trials, key=lambda trial: trial.noise)
    for trial in by_noise:
        if trial.promising and not (candidate := measured(trial)).missed:
            return candidate
    method = by_noise[0].method
    if not maker.static(layers):
        return measured(by_noise[0])
    for parts in (("encoder", "decoder"), ("encoder",)):
        part_layers = [layer for layer in layers if layer.part in parts]
        order = maker.worth_sparing(part_layers, costs(method))
        for count in range(0 if parts == ("encoder",) else 1, len(order) + 1):
            progress(f"{kind}: {' and '.join(parts)}, {count} layers spared")
            trial = attempt(method, part_layers, {layer: costs(method)[layer] for layer in order[:count]})
            if trial.promising and not (candidate := measured(trial)).missed:
                return candidate
    return measured(min(trials, key=lambda trial: trial.noise))


def _ranks_pass(found: Array, exact: Array, gate: Gate, judged: int) -> bool:
    """Whether the scores' ranks keep the gate with some room, and would on other rows, of which there may be few.

    Of few rows a rank correlation varies: what had 0.9976 on 103 rows kept 0.995 on three of five draws of 25.
    """
    if not rank_correlation(found, exact) >= gate.tightened().min_rank_correlation:
        return False
    if judged >= len(exact):
        return True
    rng = np.random.default_rng(0)
    draws = (rng.choice(len(exact), judged, replace=False) for _ in range(_DRAWS))
    kept = [rank_correlation(found[rows], exact[rows]) >= gate.min_rank_correlation for rows in draws]
    return sum(kept) >= _SURE * _DRAWS


def sprung(backend: Backend, built: BuiltGraphs, x: Feeds, row: InputSpec, *, whole: bool) -> dict[str, float]:
    """``spring_traps`` for the default head on some rows."""
    some = rows_of(x, slice(ROWS))

    def score(rows: Array) -> dict[str, Array]:
        found = run_backend(backend, "score", built.signatures["score"], some | {"x": rows}, rows=ROWS)
        return {"default": found["score"]}

    return spring_traps(some["x"], row, score, whole=whole)["default"]


def _measured(
    material: Material,
    gate: Gate,
    models: Models,
    measured: Models,
    reduction: Reduction,
    blame: Callable[[], list[str]],
) -> Candidate:
    """Figures of a candidate on calibration rows, decisions at the same quantile of either's scores."""
    with in_memory(measured) as backend:
        found = observe(backend, material.built, material.x)
        traps = sprung(backend, material.built, material.x, material.row, whole=material.whole)
    mine, theirs = (float(np.quantile(o.score, 1 - material.rate)) for o in (found, material.fp32))
    fidelity = compare(
        found, material.fp32, material.row, thresholds=(mine, theirs), labels=None, traps=(traps, material.traps)
    )
    noise = score_noise(found.score, material.fp32.score)
    return Candidate(models, measured, reduction, fidelity, noise, problems(fidelity, gate.tightened()), blame)


def _blame(costs: Mapping[Layer, float]) -> list[str]:
    worst = sorted(costs, key=lambda layer: -costs[layer])[:3]
    return [f"{layer} of the {layer.part}, {costs[layer]:.2%} of the scores' spread alone" for layer in worst]


def _name(node: str) -> str:
    return node.removeprefix("node_")
