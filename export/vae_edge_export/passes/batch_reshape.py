"""Reshape(x, Concat(Shape(x)[0], 784)) becomes Reshape(x, [-1, 784]).

The exporter computes target shapes from the batch size at run time. Where the batch is the
only unknown, -1 says the same with no shape arithmetic, which is what engines fuse and what
TensorRT plans best.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from .clean import drop_dead_nodes


def make_reshapes_batch_free(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite reshapes whose target is one computed leading size followed by known positive sizes.

    Exact by precondition: the computed size comes from axis 0 of a graph input, so it is the
    batch, and with every other size known and positive -1 can only stand for it.
    """
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    inputs = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        concat = producers.get(node.input[1])
        if concat is None or concat.op_type != "Concat" or not _is_batch(concat.input[0], producers, constants, inputs):
            continue
        rest = [constants.get(name) for name in concat.input[1:]]
        if any(size is None or size.dtype != np.int64 or not (size > 0).all() for size in rest):
            continue
        sizes = [-1, *(int(n) for size in rest if size is not None for n in size.reshape(-1))]
        name = "shape_" + "_".join(map(str, sizes)).replace("-1", "batch")
        if name not in constants:
            constants[name] = np.array(sizes, dtype=np.int64)
            graph.initializer.append(numpy_helper.from_array(constants[name], name))
        node.input[1] = name
    drop_dead_nodes(graph)
    return model


def _is_batch(
    name: str, producers: dict[str, onnx.NodeProto], constants: dict[str, np.ndarray], inputs: set[str]
) -> bool:
    """Whether a value is Shape(input)[0:1], possibly squeezed and unsqueezed on the way."""
    node = producers.get(name)
    if node is None:
        return False
    if node.op_type == "Shape":
        ends = {a.name: a.i for a in node.attribute}
        return node.input[0] in inputs and ends.get("start", 0) == 0 and ends.get("end") == 1
    if node.op_type == "Reshape":
        target = constants.get(node.input[1])
        return target is not None and target.tolist() == [-1] and _is_batch(node.input[0], producers, constants, inputs)
    return node.op_type in ("Squeeze", "Unsqueeze") and _is_batch(node.input[0], producers, constants, inputs)
