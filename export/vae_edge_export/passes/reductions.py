"""Sums, means and norms over many values in two steps: over the last axes, then over the others.

ONNX Runtime's CPU kernels add up float32 without parting (``extents``); of sums of squares over a million values it
loses 4.6e-4, which a response norm (ConvNeXt V2) over a large picture has. In real arithmetic two steps are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from .extents import Constants, block_of, inferred_shapes, is_large

_SECOND_STEP = {
    "ReduceSum": "ReduceSum",
    "ReduceMean": "ReduceMean",
    "ReduceL1": "ReduceSum",
    "ReduceL2": "ReduceL2",
    "ReduceSumSquare": "ReduceSum",
    "GlobalAveragePool": "ReduceMean",
}
"""What the results of the first step go through. A mean of means is the mean, as all parts have one size."""
_FIRST_STEP = {"GlobalAveragePool": "ReduceMean"}
"""Where it is another operator: one that is told its axes."""
_FREE = 512
"""What an axis of free size counts as, where axes are shared out between the steps."""


def reduce_in_two_steps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite large reductions over known axes, in place; those over at most ``extents.LARGE`` values stay."""
    graph = model.graph
    if not any(node.op_type in _SECOND_STEP for node in graph.node):
        return model
    shapes, constants = inferred_shapes(model), Constants(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        shape = shapes.get(node.input[0] if node.input else "", [])
        axes = _axes(node, constants, len(shape)) if node.op_type in _SECOND_STEP else []
        large = bool(axes) and 0 not in axes and is_large([shape[axis] for axis in axes])
        nodes += (_steps(node, shape, axes, constants) if large else None) or [node]
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
        constants.drop_unread()
    return model


def _axes(node: onnx.NodeProto, constants: Constants, rank: int) -> list[int]:
    """Which axes are reduced, in order; empty where that is not known or the node reduces all."""
    if node.op_type == "GlobalAveragePool":
        return list(range(2, rank))
    axes = constants.get(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    return [] if axes is None or not rank else sorted(int(axis) % rank for axis in axes.reshape(-1))


def _steps(
    node: onnx.NodeProto, shape: Sequence[int], axes: Sequence[int], constants: Constants
) -> list[onnx.NodeProto] | None:
    """The nodes in place of one; None where it cannot be parted into two of some length."""
    name, source, nodes = node.output[0], node.input[0], list[onnx.NodeProto]()
    inner, cut = _inner(shape, axes), len(axes) == 1
    if cut:  # the only axis: into blocks, which are an axis of their own until they are reduced
        (axis,) = axes
        block = block_of(shape[axis]) if all(shape[1:]) else 1
        if block == 1:
            return None
        sizes = np.array([0, *shape[1:axis], shape[axis] // block, block, *shape[axis + 1 :]], np.int64)
        nodes.append(helper.make_node("Reshape", [source, constants.add(f"{name}_sizes", sizes)], [f"{name}_blocks"]))
        source, inner = f"{name}_blocks", [axis + 1]
    keepdims = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
    steps = (
        (_FIRST_STEP.get(node.op_type, node.op_type), source, inner, f"{name}_rows", 0 if cut else 1),
        (_SECOND_STEP[node.op_type], f"{name}_rows", axes, name, keepdims),
    )
    for op_type, of, reduced, to, keep in steps:
        over = constants.add(f"{to}_axes", np.array(reduced, np.int64))
        nodes.append(helper.make_node(op_type, [of, over], [to], keepdims=keep))
    for at, step in enumerate(nodes):
        step.name = f"{node.name}_{at}"
    return nodes


def _inner(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """The last ones of several axes, as many as make both steps about equally long."""

    def longer_step(at: int) -> int:
        return max(math.prod(shape[axis] or _FREE for axis in part) for part in (axes[:at], axes[at:]))

    return list(axes[min(range(1, len(axes)), key=longer_step, default=0) :])
