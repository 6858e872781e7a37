"""How much work each layer is, and which of them may be spared for how little of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import onnx

from .layers import Layer

_SPARED_SHARE = 2
"""Of so many multiplications one may stay in fp32 for its layer's sensitivity; more and it is no int8 variant."""


def products(model: onnx.ModelProto, layers: Iterable[Layer]) -> dict[Layer, int]:
    """Multiplications of each layer for one row: its weight's size times the positions it is applied at.

    Sizes that shape inference does not find count as one.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        value.name: [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    nodes = {node.name: node for node in inferred.node}
    work = {}
    for layer in layers:
        node = nodes[layer.node]
        if layer.op_type == "Conv":
            positions = sizes.get(node.output[0], [])[2:]
        elif layer.op_type == "ConvTranspose":
            positions = sizes.get(node.input[0], [])[2:]
        else:
            positions = sizes.get(node.output[0], [])[1:-1]
        work[layer] = math.prod(layer.shape) * math.prod(positions)
    return work


def worth_sparing(work: Mapping[Layer, int], costs: Mapping[Layer, float]) -> list[Layer]:
    """Layers to keep in float, those first that take the most noise with them for the work they are.

    By squares, as noises of different layers add up. A layer of few multiplications (the latent's, the first one)
    costs hardly any speed, and takes no other's place: a share of the multiplications is what may be spared.

    Args:
        work: multiplications of each layer. costs: noise of the scores with nothing but that layer in int8.
    """
    left = sum(work.values()) // _SPARED_SHARE
    worth = []
    for layer in sorted(set(work) & set(costs), key=lambda one: (-(costs[one] ** 2) / work[one], one.node)):
        if costs[layer] > 0 and work[layer] <= left:
            worth.append(layer)
            left -= work[layer]
    return worth
