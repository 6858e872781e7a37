"""The best fp16 and int8 graphs of a model: candidates are made, run on calibration rows, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vae_edge_export.backends import in_memory
from vae_edge_export.build import BuiltGraphs
from vae_edge_export.parity import Feeds, rows_of, run_backend
from vae_edge_export.passes.transposed import unroll_transposed
from vae_edge_export.passes.upsampling import merge_upsampling
from vae_edge_export.traps import ROWS, spring_traps
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.manifest import Fidelity, Reduction
from vae_edge_runtime.specs import InputSpec

from . import half
from .activations import RANGE_METHODS, RangeMethod, largest_values, ranges
from .body import RECURRENT, Body, Layer, Part, find_bodies, weight_bytes
from .fidelity import Observed, compare, observe, score_noise
from .gates import Gate, problems
from .quantise import ALONG, Int8, quantise, quantise_weights

Array = NDArray[Any]
Models = dict[str, onnx.ModelProto]
Progress = Callable[[str], None]

_SPARED_SHARE = 4
"""Of so many layers one may be left in fp32 for its sensitivity; more and it is no int8 variant."""


@dataclass(frozen=True, eq=False)
class Material:
    """What variants are made from.

    Attributes:
        models: the fp32 graphs, nodes named uniquely. feeds: per graph, calibration rows to take ranges from.
        probes: per graph, rows beyond them that must not overflow.
        x: the feeds of ``score``, on which candidates are compared; fp32: what fp32 makes of them.
        traps: fp32's probability, per kind of unnatural row, that one scores above a normal row.
        rate: false-positive rate of the thresholds. whole: rows are whole numbers, classes.
    """

    built: BuiltGraphs
    models: Models
    bodies: dict[str, Body]
    feeds: Mapping[str, Feeds]
    probes: Mapping[str, Sequence[Feeds]]
    x: Feeds
    fp32: Observed
    traps: Mapping[str, float]
    row: InputSpec
    rate: float
    whole: bool


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
                _scores(material, half.rounded(material.models["score"], half.only(layer.node))), material.fp32.score
            )
            for layer in layers
        }

    return _measured(material, gate, models, measured, reduction, lambda: _blame(costs()))


def search_int8(material: Material, gate: Gate, *, kind: Int8, progress: Progress) -> Candidate:
    """The whole network in int8 by the best way of taking ranges; where the gate is missed with the most
    sensitive layers spared, then with only the encoder in int8 and the decoder in float16.

    Returns the first candidate that passes with some room, else the best one with what it missed: the gate proper
    is held on other rows.
    """
    maker = _Int8(material, kind)
    layers = maker.layers
    feedforward = [layer for layer in layers if layer.op_type not in RECURRENT]

    def costs(method: RangeMethod) -> dict[Layer, float]:
        progress(f"{kind}: which layers are sensitive")
        return {layer: score_noise(maker.score_of(method, [layer]), material.fp32.score) for layer in feedforward}

    def tried(method: RangeMethod, layers: Sequence[Layer], spared: Mapping[Layer, float]) -> Candidate:
        made = maker.make(method, layers, spared=spared)
        return _measured(material, gate, *made, lambda: _blame(costs(method)))

    found: list[Candidate] = []
    for way in RANGE_METHODS if maker.static(layers) else RANGE_METHODS[:1]:
        progress(f"{kind}: ranges by {way}")
        found.append(tried(way, layers, {}))
    best = min(found, key=lambda c: (bool(c.missed), c.noise))
    method = best.reduction.ranges
    if not best.missed or method == "none":
        return best
    cost = costs(method)
    worst = sorted(cost, key=lambda layer: -cost[layer])
    for parts in (("encoder", "decoder"), ("encoder",)):
        part_layers = [layer for layer in layers if layer.part in parts]
        for count in range(0 if parts == ("encoder",) else 1, len(part_layers) // _SPARED_SHARE + 1):
            spared = {layer: cost[layer] for layer in [w for w in worst if w in part_layers][:count]}
            progress(f"{kind}: {' and '.join(parts)}, {count} layers spared")
            candidate = tried(method, part_layers, spared)
            if not candidate.missed:
                return candidate
            best = min(best, candidate, key=lambda c: c.noise)
    return best


class _Int8:
    """Makes int8 graphs; ranges are taken once per graph and method."""

    def __init__(self, material: Material, kind: Int8) -> None:
        if kind == "int8-cpu":
            models = {graph: unroll_transposed(merge_upsampling(model)) for graph, model in material.models.items()}
            material = replace(material, models=models, bodies=find_bodies(models))
        self._material, self._kind = material, kind
        self._ranges: dict[tuple[str, RangeMethod], Any] = {}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Of the whole network; those of the latent come last, and only where their weights can be stored as int8."""
        return self._layers_of("score")

    def static(self, layers: Sequence[Layer]) -> list[Layer]:
        """Those that compute in int8; of the others the weights alone are."""
        latent = {layer.weight for layer in self._material.bodies["score"].latent}
        return [layer for layer in layers if layer.op_type not in RECURRENT and layer.weight not in latent]

    def _layers_of(self, graph: str) -> tuple[Layer, ...]:
        body = self._material.bodies[graph]
        return body.layers if self._kind == "int8" else (*body.layers, *body.latent)

    def make(
        self, method: RangeMethod, layers: Sequence[Layer], *, spared: Mapping[Layer, float]
    ) -> tuple[Models, Models, Reduction]:
        """Graphs with some layers in int8; a decoder none of whose layers is among them in float16."""
        weights = {layer.weight for layer in layers} - {layer.weight for layer in spared}
        half_decoder = not any(layer.part == "decoder" for layer in layers)
        models, measured = {}, {}
        for graph in self._material.models:
            models[graph], measured[graph] = self._graph(graph, method, weights, half_decoder=half_decoder)
        reduced = [layer for layer in self.layers if layer.weight in weights]
        halved = [layer for layer in self._material.bodies["score"].of("decoder") if half_decoder]
        static = bool(self.static(reduced))
        kept = {str(layer): f"alone it costs {cost:.2%} of the scores' spread" for layer, cost in spared.items()}
        scheme = "encoder int8, decoder fp16" if half_decoder and halved else "int8"
        return models, measured, Reduction(
            scheme=scheme if static else "int8 weights",
            activations=("int8" if self._kind == "int8" else "uint8") if static else "none",
            ranges=method if static else "none",
            layers=len(reduced) + len(halved),
            layers_total=len(self.layers),
            kept=kept,
            weight_bytes=weight_bytes(models["score"], [*reduced, *halved]),
            weight_bytes_fp32=weight_bytes(self._material.models["score"], [*reduced, *halved]),
        )  # fmt: skip

    def score_of(self, method: RangeMethod, layers: Sequence[Layer]) -> Array:
        """Scores with nothing but these layers in int8."""
        weights = {layer.weight for layer in layers}
        return _scores(self._material, self._graph("score", method, weights, half_decoder=False)[0])

    def _graph(
        self, graph: str, method: RangeMethod, weights: set[str], *, half_decoder: bool
    ) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        model, body = self._material.models[graph], self._material.bodies[graph]
        chosen = [layer for layer in self._layers_of(graph) if layer.weight in weights]
        static = self.static(chosen)
        stored = [layer for layer in chosen if layer not in static]
        shipped = model
        if static:
            inside = body.between["encoder"] | body.between["decoder"]
            found = self._ranges_of(graph, method)
            along = self._along(graph, {layer.part for layer in static})
            shipped = quantise(model, static, found, kind=self._kind, inside=inside, along=along)
        if stored:
            shipped = self._stored(shipped, stored)
        if not half_decoder or not body.of("decoder"):
            return shipped, shipped
        largest = largest_values(model, [self._material.feeds[graph], *self._material.probes[graph]])
        plan = half.plan(model, body.halvable("decoder"), largest)
        return half.to_half(shipped, plan), half.rounded(shipped, plan)

    def _stored(self, model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
        """Layers that compute in float32, with smaller weights: int8, but float16 of a GRU for TensorRT, which
        builds no GRU behind DequantizeLinear (RTX 1.7; it does build an LSTM).
        """
        if self._kind == "int8-cpu":
            return quantise_weights(model, layers, once=True)
        halved = {layer.node for layer in layers if layer.op_type != "LSTM"}
        rest = [layer for layer in layers if layer.node not in halved]
        return half.to_half(
            quantise_weights(model, rest, once=False), half.HalfPlan(frozenset(), frozenset(halved), {})
        )

    def _along(self, graph: str, parts: set[Part]) -> list[str]:
        """Nodes between the layers of some parts that are quantised with them."""
        if self._kind == "int8":
            return []
        body = self._material.bodies[graph]
        between = frozenset().union(*(body.between[part] for part in parts))
        nodes = self._material.models[graph].graph.node
        return [node.name for node in nodes if node.name in between and node.op_type in ALONG]

    def _ranges_of(self, graph: str, method: RangeMethod) -> Any:
        if (graph, method) not in self._ranges:
            body, model = self._material.bodies[graph], self._material.models[graph]
            names = {layer.node for layer in body.layers if layer.op_type not in RECURRENT}
            names |= set(self._along(graph, {layer.part for layer in body.layers}))
            self._ranges[graph, method] = ranges(
                model,
                self._material.feeds[graph],
                method=method,
                op_types=sorted({node.op_type for node in model.graph.node if node.name in names}),
                symmetric=self._kind == "int8",
            )
        return self._ranges[graph, method]


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


def _scores(material: Material, model: onnx.ModelProto) -> Array:
    with in_memory({"score": model}) as backend:
        signature = material.built.signatures["score"]
        return run_backend(backend, "score", signature, material.x, rows=64)["score"]


def _blame(costs: Mapping[Layer, float]) -> list[str]:
    worst = sorted(costs, key=lambda layer: -costs[layer])[:3]
    return [f"{layer} of the {layer.part}, {costs[layer]:.2%} of the scores' spread alone" for layer in worst]


def _name(node: str) -> str:
    return node.removeprefix("node_")
