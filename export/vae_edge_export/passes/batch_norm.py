"""BatchNormalization after a convolution goes into its weights.

At inference it is a scale and a shift per channel, and so is a convolution's output side: one
node less to run, and nothing between a convolution and its activation that int8 would have to
round twice. Engines do this for Conv only, and none does it once the weights are quantised.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_FOLDS_INTO = ("Conv", "ConvTranspose")
_EPSILON = 1e-5  # of the operator, where the node does not say


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold every BatchNormalization whose only input is a convolution nobody else reads.

    Exact but for rounding, by precondition: all its four constants and the convolution's weights
    are initialisers; the products are formed in float64 and rounded once.
    """
    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, int] = {value.name: 1 for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    folded = []
    for norm in graph.node:
        conv = producers.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type not in _FOLDS_INTO or readers[conv.output[0]] != 1:
            continue
        given = [name for name in conv.input[1:] if name]
        if not all(name in constants for name in (*given, *norm.input[1:])):
            continue
        weight, bias = _folded(conv, norm, constants)
        for name, array in ((f"{norm.name}.weight", weight), (f"{norm.name}.bias", bias)):
            graph.initializer.append(numpy_helper.from_array(array, name))
        del conv.input[1:]
        conv.input.extend([f"{norm.name}.weight", f"{norm.name}.bias"])
        conv.output[0] = norm.output[0]
        folded.append(norm.name)
    kept = [node for node in graph.node if node.name not in folded]
    used = {name for node in kept for name in node.input}
    weights = [t for t in graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    return model


def _folded(
    conv: onnx.NodeProto, norm: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of the convolution that does both."""
    gamma, beta, mean, variance = (_float64(constants[name]) for name in norm.input[1:5])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), _EPSILON)
    factor = gamma / np.sqrt(variance + epsilon)
    weight = _float64(constants[conv.input[1]])
    bias = _float64(constants[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(factor))
    if conv.op_type == "Conv":  # (out, in / groups, ...)
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:  # (in, out / groups, ...): input channels of one group feed the output channels of that group
        groups = next((a.i for a in conv.attribute if a.name == "group"), 1)
        per_group = weight.reshape(groups, -1, *weight.shape[1:])
        weight = (per_group * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    return weight.astype(np.float32), ((bias - mean) * factor + beta).astype(np.float32)


def _float64(tensor: onnx.TensorProto) -> NDArray[np.float64]:
    return numpy_helper.to_array(tensor).astype(np.float64)
