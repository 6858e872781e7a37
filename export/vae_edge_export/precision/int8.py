"""The int8 graphs of a variant, whichever of its layers are in int8 and however ranges are taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx

from vae_edge_export.passes.transposed import unroll_transposed
from vae_edge_export.passes.upsampling import merge_upsampling
from vae_edge_runtime.format.figures import Reduction

from . import half
from .activations import RangeMethod, largest_values, ranges
from .baseline import Array, Fp32Baseline, Models, scores_of
from .between_layers import nodes_along
from .layers import RECURRENT, Layer, find_networks, weight_bytes
from .multiplications import products, worth_sparing
from .quantise import Int8, quantise, quantise_weights


class Int8Builder:
    """Builds int8 graphs; ranges are taken once per graph and method."""

    def __init__(self, baseline: Fp32Baseline, kind: Int8) -> None:
        if kind == "int8-cpu":
            models = {graph: unroll_transposed(merge_upsampling(model)) for graph, model in baseline.models.items()}
            baseline = replace(baseline, models=models, networks=find_networks(models))
        self._baseline, self._kind = baseline, kind
        self._ranges: dict[tuple[str, RangeMethod], Any] = {}
        self._plans: dict[str, half.HalfPlan] = {}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Of the whole network; those of the latent come last, and only where their weights can be stored as int8."""
        return self._layers_of("score")

    def static(self, layers: Sequence[Layer]) -> list[Layer]:
        """Those that compute in int8; of the others the weights alone are."""
        latent = {layer.weight for layer in self._baseline.networks["score"].latent}
        return [layer for layer in layers if layer.op_type not in RECURRENT and layer.weight not in latent]

    def _layers_of(self, graph: str) -> tuple[Layer, ...]:
        network = self._baseline.networks[graph]
        return network.layers if self._kind == "int8" else (*network.layers, *network.latent)

    def worth_sparing(self, layers: Sequence[Layer], costs: Mapping[Layer, float]) -> list[Layer]:
        """Of some layers those to keep in float first, as ``products.worth_sparing``."""
        return worth_sparing(products(self._baseline.models["score"], layers), costs)

    def graphs(
        self, method: RangeMethod, layers: Sequence[Layer], *, spared: Mapping[Layer, float]
    ) -> tuple[Models, Models, Reduction]:
        """Graphs with some layers in int8; a decoder none of whose layers is among them in float16."""
        weights = {layer.weight for layer in layers} - {layer.weight for layer in spared}
        half_decoder = not any(layer.part == "decoder" for layer in layers)
        models, measured = {}, {}
        for graph in self._baseline.models:
            models[graph], measured[graph] = self._graph(graph, method, weights, half_decoder=half_decoder)
        reduced = [layer for layer in self.layers if layer.weight in weights]
        halved = [layer for layer in self._baseline.networks["score"].of("decoder") if half_decoder]
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
            weight_bytes_fp32=weight_bytes(self._baseline.models["score"], [*reduced, *halved]),
        )  # fmt: skip

    def scores(
        self,
        method: RangeMethod,
        layers: Sequence[Layer],
        *,
        spared: Collection[Layer] = (),
        half_decoder: bool = False,
        rows: int | None = None,
    ) -> Array:
        """Scores of some rows with nothing but these layers in int8, and maybe a decoder in float16."""
        weights = {layer.weight for layer in layers} - {layer.weight for layer in spared}
        graph = self._graph("score", method, weights, half_decoder=half_decoder)[1]
        return scores_of(self._baseline, graph, rows)

    def _graph(
        self, graph: str, method: RangeMethod, weights: set[str], *, half_decoder: bool
    ) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        model, network = self._baseline.models[graph], self._baseline.networks[graph]
        chosen = [layer for layer in self._layers_of(graph) if layer.weight in weights]
        static = self.static(chosen)
        stored = [layer for layer in chosen if layer not in static]
        shipped = model
        if static:
            inside = network.between["encoder"] | network.between["decoder"]
            tensor_ranges = self._ranges_of(graph, method)
            along = self._along(graph, {layer.node for layer in static})
            shipped = quantise(model, static, tensor_ranges, kind=self._kind, inside=inside, along=along)
        if stored:
            shipped = self._stored(shipped, stored)
        if not half_decoder or not network.of("decoder"):
            return shipped, shipped
        plan = self._half_decoder(graph)
        return half.to_half(shipped, plan), half.rounded(shipped, plan)

    def _half_decoder(self, graph: str) -> half.HalfPlan:
        if graph not in self._plans:
            model, network = self._baseline.models[graph], self._baseline.networks[graph]
            largest = largest_values(model, [self._baseline.range_feeds[graph], *self._baseline.probes[graph]])
            self._plans[graph] = half.plan(model, network.halvable("decoder"), largest)
        return self._plans[graph]

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

    def _along(self, graph: str, quantised: set[str]) -> list[str]:
        """Nodes between some layers that are quantised with them."""
        if self._kind == "int8":
            return []
        network = self._baseline.networks[graph]
        parts = {layer.part for layer in network.layers if layer.node in quantised}
        between = frozenset().union(*(network.between[part] for part in parts))
        return nodes_along(self._baseline.models[graph], between, quantised)

    def _ranges_of(self, graph: str, method: RangeMethod) -> Any:
        if (graph, method) not in self._ranges:
            network, model = self._baseline.networks[graph], self._baseline.models[graph]
            names = {layer.node for layer in network.layers if layer.op_type not in RECURRENT}
            names |= set(self._along(graph, names))
            self._ranges[graph, method] = ranges(
                model,
                self._baseline.range_feeds[graph],
                method=method,
                op_types=sorted({node.op_type for node in model.graph.node if node.name in names}),
                symmetric=self._kind == "int8",
            )
        return self._ranges[graph, method]
