"""Which nodes of a graph are the network, and may lose precision, and which are what a score rests on.

The network is found by its weights: a layer (``LAYERS``) belongs to the encoder where the graph
``encode`` holds its weight, to the decoder where ``decode`` does. Preprocessing comes before the
first layer, likelihood, KL and heads come after the last, and none of them has such a weight:
they stay fp32. So does the last layer of the encoder, whose output *is* the latent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import numpy_helper

Part = Literal["encoder", "decoder"]

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
LAYERS = frozenset({"Gemm", "MatMul"}) | CONVOLUTIONS | RECURRENT
"""Operators that hold nearly all weights and do nearly all arithmetic."""


@dataclass(frozen=True)
class Layer:
    """One node with a constant weight.

    Attributes:
        node: its name. weight: the initialiser (of recurrent operators the one of the input).
        shape: of the weight.
    """

    node: str
    op_type: str
    weight: str
    shape: tuple[int, ...]
    part: Part

    def __str__(self) -> str:
        return f"{self.op_type} {self.node.removeprefix('node_')} ({'x'.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Network:
    """The network inside one graph.

    Attributes:
        layers: in the order they run; the encoder's last ones are not among them.
        latent: the encoder's last ones. They compute in float; their weights may be stored in fewer bits.
        between: per part, every node on a way from one of its layers to another, and the layers.
    """

    layers: tuple[Layer, ...]
    latent: tuple[Layer, ...]
    between: Mapping[Part, frozenset[str]]

    def halvable(self, *parts: Part) -> frozenset[str]:
        """Nodes that may be float16: what is between layers, but beside recurrent ones the other layers alone.

        TensorRT RTX 1.7 fails to build float16 reshapes between them ("mismatched number of elements").
        """
        halvable: set[str] = set()
        for part in parts:
            layers = self.of(part)
            recurrent = any(layer.op_type in RECURRENT for layer in layers)
            halvable |= {layer.node for layer in layers} if recurrent else self.between[part]
        return frozenset(halvable)

    def of(self, *parts: Part) -> tuple[Layer, ...]:
        """Layers of some parts."""
        return tuple(layer for layer in self.layers if layer.part in parts)


def find_networks(models: Mapping[str, onnx.ModelProto]) -> dict[str, Network]:
    """The network inside each graph of a variant.

    Args:
        models: graph name to a cleaned-up fp32 model: weights are named by content.
    """
    weights: dict[str, Part] = {weight: "decoder" for _, weight in _layers(models["decode"].graph)}
    weights |= {weight: "encoder" for _, weight in _layers(models["encode"].graph)}
    latent = _last_layers(models["encode"].graph)
    return {graph: _network(model.graph, weights, latent) for graph, model in models.items()}


def _network(graph: onnx.GraphProto, weights: Mapping[str, Part], latent: frozenset[str]) -> Network:
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    all_layers = [
        Layer(node.name, node.op_type, weight, shapes[weight], weights[weight])
        for node, weight in _layers(graph)
        if weight in weights
    ]
    layers = tuple(layer for layer in all_layers if layer.weight not in latent)
    between: dict[Part, frozenset[str]] = {}
    for part in ("encoder", "decoder"):
        own = {layer.node for layer in layers if layer.part == part}
        between[part] = _reached(graph, own, forward=True) & _reached(graph, own, forward=False)
    return Network(layers, tuple(layer for layer in all_layers if layer.weight in latent), between)


def _layers(graph: onnx.GraphProto) -> Iterable[tuple[onnx.NodeProto, str]]:
    """Nodes with a constant float weight, and its name; a product of activations is no layer."""
    constants = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        if node.op_type in LAYERS:
            weights = [name for name in node.input[:2] if name in constants]
            if len(weights) == 1:
                yield node, weights[0]


def _last_layers(graph: onnx.GraphProto) -> frozenset[str]:
    """Weights of layers that no other layer comes after."""
    layers = list(_layers(graph))
    followed: set[str] = set()
    for node, _ in layers:
        followed |= _reached(graph, {node.name}, forward=False) - {node.name}
    return frozenset(weight for node, weight in layers if node.name not in followed)


def _reached(graph: onnx.GraphProto, start: set[str], *, forward: bool) -> frozenset[str]:
    """Names of nodes that are in ``start``, or read from (are read by) one that was reached."""
    reached = set(start)
    carried: set[str] = set()
    for node in graph.node if forward else reversed(graph.node):
        reads, gives = (node.input, node.output) if forward else (node.output, node.input)
        if node.name in reached or carried.intersection(reads):
            reached.add(node.name)
            carried.update(name for name in gives if name)
    return frozenset(reached)


def named_uniquely(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name of its own for every node, in place: what follows speaks of nodes by name."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)
    return model


def weight_bytes(model: onnx.ModelProto, layers: Iterable[Layer]) -> int:
    """Bytes of the weights of some layers as the model stores them, scales and zero points included, each once."""
    stored = {t.name: numpy_helper.to_array(t).nbytes for t in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    names = {layer.node for layer in layers}
    counted: set[str] = set()
    for node in model.graph.node:
        if node.name not in names:
            continue
        for name in node.input[1:3] if node.op_type in RECURRENT else node.input[:2]:
            producer = producers.get(name)
            if producer is None:
                counted.add(name)
            else:
                if producer.op_type == "Mul" and producer.input[0] in producers:  # by its scale
                    counted.add(producer.input[1])
                    producer = producers[producer.input[0]]
                if producer.op_type in ("DequantizeLinear", "Cast") and producer.input[0] in stored:
                    counted.update(producer.input)
    return sum(stored.get(name, 0) for name in counted)
