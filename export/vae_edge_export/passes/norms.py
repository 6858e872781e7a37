"""Norms over many values take their mean and variance in two steps: of rows, then of the rows' results.

A group, instance or layer norm of a large picture sums a million values, and ONNX Runtime's CPU kernels lose 1e-4 by it
(``extents``). Thirty of them one after the other put a decoder of Stable Diffusion's size at 512 x 512 4e-4 away from
PyTorch. In real arithmetic the form below is the same norm; its error is that of PyTorch.

The mean is subtracted before anything is squared, and the rows' means are averaged as differences from the first one:
where the mean is 100 times the spread both keep the digits that a plain average loses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from .extents import Constants, Shapes, block_of, inferred_shapes, is_large

Array = NDArray[Any]

_FEWEST = 16
"""Values of a block that are worth a step of their own."""


def norm_in_two_steps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite large InstanceNormalization and LayerNormalization, in place; group norms are exported as the former.

    Those of at most ``extents.LARGE`` values stay, as do those whose scales are computed.
    """
    graph = model.graph
    if not any(node.op_type in _PARTED for node in graph.node):
        return model
    context = _Context(graph, inferred_shapes(model))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        parted = _PARTED[node.op_type](node, context) if node.op_type in _PARTED else None
        nodes += _Steps(node, context).of(parted) if parted else [node]
    if len(nodes) == len(graph.node):
        return model
    del graph.node[:]
    graph.node.extend(nodes)
    context.constants.drop_unread()
    return model


@dataclass(frozen=True)
class _Parted:
    """A norm as (n, groups, rows, block), of which the last two axes are reduced.

    Attributes:
        source: name of the tensor that is normalised, of any shape with the same elements in the same order.
        target: sizes for a Reshape of the source; empty where it has four axes already.
        factor: (1, groups, 1, 1) or of size 1, multiplied with what was normalised.
        back: sizes for a Reshape of the result; empty where it has its shape.
        scale, bias: applied to the result in its own shape; None: none.
    """

    source: str
    target: tuple[int, ...]
    factor: Array
    back: tuple[int, ...]
    scale: Array | None
    bias: Array | None


class _Context:
    """What is known of a graph."""

    def __init__(self, graph: onnx.GraphProto, shapes: Shapes) -> None:
        self.shapes, self.constants = shapes, Constants(graph)
        self.producers = {output: node for node in graph.node for output in node.output}
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def only_reader(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, where it is of that kind."""
        readers = self._readers.get(name, [])
        alone = len(readers) == 1 and name not in self._outputs and readers[0].op_type == op_type
        return readers[0] if alone else None


def _instance_norm(node: onnx.NodeProto, context: _Context) -> _Parted | None:
    """(n, groups, ...) over all axes but two; free sizes are the height and width of a picture."""
    shape = context.shapes.get(node.input[0], [])
    scale, bias = (context.constants.get(name) for name in node.input[1:])
    if scale is None or bias is None or len(shape) < 3 or not is_large(shape[2:]):
        return None
    groups, total = len(scale), math.prod(shape[2:])
    after = bias.reshape(-1, *[1] * (len(shape) - 2)) if bias.any() else None
    factor = scale.reshape(1, -1, 1, 1)
    if total:
        block = block_of(total)
        sizes = (0, groups, -1, block), (0, groups, *shape[2:])
        return _Parted(node.input[0], sizes[0], factor, sizes[1], None, after) if block >= _FEWEST else None
    if len(shape) == 4:
        return _Parted(node.input[0], (), factor, (), None, after)
    source, target = _regrouped(context.producers.get(node.input[0]), groups, context)
    return _Parted(source, target, factor, (0, groups, -1), None, after) if source else None


def _regrouped(reshape: onnx.NodeProto | None, groups: int, context: _Context) -> tuple[str, tuple[int, ...]]:
    """What a node reshapes to (n, groups, -1), and sizes that part it: rows of a picture, or channels of anything else.

    The name is empty where another node is there, or groups of channels are no whole ones.
    """
    if reshape is None or reshape.op_type != "Reshape":
        return "", ()
    target, shape = context.constants.get(reshape.input[1]), context.shapes.get(reshape.input[0], [])
    if target is None or target.tolist() != [0, groups, -1] or len(shape) < 3 or not shape[1] or shape[1] % groups:
        return "", ()
    return reshape.input[0], (0, groups, -1, 0) if len(shape) == 4 else (0, groups, shape[1] // groups, -1)


def _layer_norm(node: onnx.NodeProto, context: _Context) -> _Parted | None:
    """Over the last axes of known sizes; the axes between the batch and those are groups."""
    shape = context.shapes.get(node.input[0], [])
    arrays = [context.constants.get(name) if name else None for name in node.input[1:]]
    axis = int(_attribute(node, "axis", -1)) % max(1, len(shape))
    computed = any(name and array is None for name, array in zip(node.input[1:], arrays, strict=True))
    if computed or any(node.output[1:]) or axis == 0 or not all(shape[1:]) or not is_large(shape[axis:]):
        return None
    groups, block = math.prod(shape[1:axis]), block_of(math.prod(shape[axis:]))
    if block < _FEWEST:
        return None
    scale, bias = (*arrays, None)[:2]
    one = np.ones((1, 1, 1, 1), np.float32)
    return _Parted(node.input[0], (0, groups, -1, block), one, (0, *shape[1:]), scale, bias)


_PARTED = {"InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm}


class _Steps:
    """The nodes in place of a norm."""

    def __init__(self, node: onnx.NodeProto, context: _Context) -> None:
        self._node, self._context, self._name = node, context, node.output[0]
        self._nodes: list[onnx.NodeProto] = []

    def of(self, parted: _Parted) -> list[onnx.NodeProto]:
        """Mean, spread, deviation, and what is multiplied and added afterwards."""
        rows, values = self._integers("rows", 2), self._integers("values", 3)
        source = self._reshaped(parted.source, "parted", parted.target)
        means = self._add("ReduceMean", source, values)
        first = self._add("Slice", means, self._integers("zero", 0), self._integers("one", 1), rows)
        mean = self._add("Add", first, self._add("ReduceMean", self._add("Sub", means, first), rows))
        spread = self._add("Sub", source, mean)
        squares = self._add("ReduceMean", self._add("Mul", spread, spread), values)
        raised = self._add("Add", self._add("ReduceMean", squares, rows), self._epsilon())
        deviation = self._add("Sqrt", raised)
        if self._scaled_behind(spread, deviation, parted):
            return self._nodes
        factor = self._add("Div", self._constant("factor", parted.factor), deviation)
        result = self._reshaped(self._add("Mul", spread, factor), "back", parted.back)
        for op, array in (("Mul", parted.scale), ("Add", parted.bias)):
            result = result if array is None else self._add(op, result, self._constant(op, array))
        self._give(result)
        return self._nodes

    def _scaled_behind(self, spread: str, deviation: str, parted: _Parted) -> bool:
        """Let the group norm's own Mul by channel divide by the deviation, too: one pass less over the picture."""
        back = self._context.only_reader(self._name, "Reshape")
        scaling = back and self._context.only_reader(back.output[0], "Mul")
        groups, shape = parted.factor.size, self._context.shapes.get(back.output[0], []) if back else []
        if back is None or not scaling or back.input[0] != self._name or parted.bias is not None or len(shape) < 3:
            return False
        name = next((name for name in scaling.input if name != back.output[0]), "")
        scale, wanted = self._context.constants.get(name), (shape[1], *[1] * (len(shape) - 2))
        if scale is None or shape[1] % groups or scale.shape not in (wanted, (1, *wanted)) or not shape[1]:
            return False
        by_group = self._constant("scale", scale.reshape(1, groups, -1, 1) * parted.factor)
        per_channel = self._reshaped(self._add("Div", by_group, deviation), "per_channel", (0, *wanted))
        scaling.input[:] = [back.output[0], per_channel]
        self._give(spread)
        return True

    def _add(self, op_type: str, *inputs: str) -> str:
        at = len(self._nodes)
        step = helper.make_node(op_type, inputs, [f"{self._name}_{at}"], name=f"{self._node.name}_{at}")
        self._nodes.append(step)
        return f"{self._name}_{at}"

    def _give(self, result: str) -> None:
        """Let a tensor have the name of the norm's output."""
        for names in (names for step in self._nodes for names in (step.input, step.output)):
            names[:] = [self._name if name == result else name for name in names]

    def _reshaped(self, name: str, what: str, sizes: tuple[int, ...]) -> str:
        return self._add("Reshape", name, self._integers(what, *sizes)) if sizes else name

    def _constant(self, what: str, values: Array) -> str:
        return self._context.constants.add(f"{self._name}_{what}", np.ascontiguousarray(values))

    def _integers(self, what: str, *values: int) -> str:
        return self._constant(what, np.array(values, np.int64))

    def _epsilon(self) -> str:
        return self._constant("epsilon", np.full((1, 1, 1, 1), _attribute(self._node, "epsilon", 1e-5), np.float32))


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
