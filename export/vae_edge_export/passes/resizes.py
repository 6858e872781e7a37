"""Resize(x, Concat(Shape(x)[0:2], [64, 64])) becomes Resize(x, [1, 1, 2, 2]).

PyTorch exports ``nn.Upsample(size=64)`` with sizes computed at run time. Where the input's own sizes are known and
divide them, the factors say the same: what merges upsampling and convolution reads them, and no engine computes shapes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .clean import drop_dead_nodes
from .extents import inferred_values

Sizes = dict[str, list[int]]


def resize_by_factors(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite resizes to known sizes that are whole multiples of the input's, in place.

    Exact by precondition: batch and channels are those of the resized tensor itself, and with a whole factor the
    engine finds the same sizes and positions either way.
    """
    graph = model.graph
    constants = {t.name for t in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    known: Sizes | None = None
    for node in graph.node:
        if node.op_type != "Resize" or not _keeps_batch_and_channels(node, producers):
            continue
        known = known if known is not None else _sizes(model)
        factors = _whole_factors(known.get(node.input[0], []), known.get(node.output[0], []))
        if not factors:
            continue
        name = "factors_" + "_".join(map(str, factors))
        if name not in constants:
            constants.add(name)
            graph.initializer.append(numpy_helper.from_array(np.array([1, 1, *factors], np.float32), name))
        node.input[:] = [node.input[0], "", name]
    drop_dead_nodes(graph)
    return model


def _keeps_batch_and_channels(resize: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    """Whether it is given sizes, of all axes, and they begin with the first two of the tensor that it resizes."""
    if len(resize.input) != 4 or resize.input[1] or any(a.name == "axes" for a in resize.attribute):
        return False
    concat = producers.get(resize.input[3])
    first = producers.get(concat.input[0]) if concat is not None and concat.op_type == "Concat" else None
    if first is None or first.op_type != "Shape" or first.input[0] != resize.input[0]:
        return False
    said = {a.name: helper.get_attribute_value(a) for a in first.attribute}
    return said.get("start", 0) == 0 and said.get("end") == 2


def _sizes(model: onnx.ModelProto) -> Sizes:
    """Per tensor its axes, 0 for one that is not known."""
    values = inferred_values(model)
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _whole_factors(before: list[int], after: list[int]) -> list[int]:
    """Of the spatial axes; empty where one is not known or not whole."""
    pairs = list(zip(before[2:], after[2:], strict=False))
    if len(before) != len(after) or not all(small > 0 and large > 0 and large % small == 0 for small, large in pairs):
        return []
    return [large // small for small, large in pairs]
