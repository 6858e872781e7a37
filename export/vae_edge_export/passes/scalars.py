"""A scalar beside a tensor whose last axis is 1 gets two axes of its own.

onnxruntime 1.32 adds (n, 64, 64, 1) and a scalar of shape () or (1,) element by element, 60 times slower than with
shape (1, 1), which means the same. Series of one feature and grey images with channels last have that axis, and images
of one channel get it where onnxruntime moves a transposition through the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from .clean import weight_name
from .extents import inferred_values

_OPERATORS = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})


def widen_scalars(model: onnx.ModelProto) -> onnx.ModelProto:
    """Reshape such scalars to (1, 1), in place; where the other operand's shape is not known nothing changes."""
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    single = _of_one_channel(model)
    for node in graph.node:
        if node.op_type not in _OPERATORS or not single.intersection(node.input):
            continue
        for at, name in enumerate(node.input):
            if name in constants and constants[name].size == 1 and constants[name].ndim < 2:
                tensor = numpy_helper.from_array(constants[name].reshape(1, 1))
                tensor.name = node.input[at] = weight_name(tensor)
                if tensor.name not in constants:
                    constants[tensor.name] = np.asarray(constants[name]).reshape(1, 1)
                    graph.initializer.append(tensor)
    used = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _of_one_channel(model: onnx.ModelProto) -> set[str]:
    """Tensors of at least three axes whose last one, or second one, is 1."""
    found = set()
    for value in inferred_values(model):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if len(sizes) >= 3 and 1 in (sizes[1], sizes[-1]):
            found.add(value.name)
    return found
