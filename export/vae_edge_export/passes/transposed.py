"""ConvTranspose as an ordinary convolution whose channels are interleaved: the form integer kernels exist for.

With stride s every output position reads one of s x s sub-kernels. One convolution computes all of
them as channels, which are then put side by side, and a slice cuts the padding off (the
sub-pixel convolution of Shi et al. 2016, read backwards). Nothing is added or left out.

Between the convolution and the next one elements only move, with one scale for all of them, so that no engine has
to leave the integers: an activation goes in front of it, where an integer convolution takes it in. They move with
channels last, the layout of integer convolutions: a transpose of whole rows of channels there, where DepthToSpace
took 30 % of the time of an int8 decoder (onnxruntime 1.32, measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from vae_edge_runtime.backends.sub_kernels import sub_kernels

from .clean import weight_name
from .elementwise import is_elementwise
from .extents import inferred_values

Nodes = list[onnx.NodeProto]


def unroll_transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model; each 2-D ConvTranspose with constant weights, one group and no dilation, of images of known
    size, becomes a Conv.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    sizes = _image_sizes(model)
    nodes: Nodes = []
    unrolled: list[Sequence[onnx.NodeProto]] = []
    for node in graph.node:
        rewritten = _unrolled(node, constants, sizes.get(node.input[0] if node.input else ""))
        if rewritten is None:
            nodes.append(node)
            continue
        convolution, after, tensors = rewritten
        nodes += [convolution, *after]
        unrolled.append(after)
        graph.initializer.extend(t for t in tensors if t.name not in constants)
        constants |= {t.name: numpy_helper.to_array(t) for t in tensors}
    outputs = {value.name for value in graph.output}
    scalars = {name: array for name, array in constants.items() if array.size == 1}
    for moves in unrolled:
        nodes = _activation_first(nodes, moves, scalars, outputs)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]  # shapes between have changed
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return result


def _image_sizes(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """(height, width) of every tensor of images where it is known."""
    found = {}
    for value in inferred_values(model):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if len(sizes) == 4 and min(sizes[2:]) > 0:
            found[value.name] = (sizes[2], sizes[3])
    return found


def _unrolled(
    node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]], image: tuple[int, int] | None
) -> tuple[onnx.NodeProto, Nodes, list[onnx.TensorProto]] | None:
    """The convolution, what moves its result, and constants; None where the node is of another kind."""
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    given = [constants.get(name) for name in node.input[1:] if name]
    if node.op_type != "ConvTranspose" or image is None or any(array is None for array in given):
        return None
    weight, *bias = (np.asarray(array) for array in given)
    if weight.ndim != 4 or said.get("group", 1) != 1 or set(said.get("dilations", [1])) != {1}:
        return None
    strides, pads = said.get("strides", [1, 1]), said.get("pads", [0] * 4)
    extra = said.get("output_padding", [0, 0])
    stride = strides[0]
    plain = said.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in said
    if not plain or strides[0] != strides[1] or stride == 1:
        return None
    outputs, *kernel = weight.shape[1:]
    phases = sub_kernels(weight, stride)
    taps = phases.shape[2:]
    # Interleaved there are stride * (size + taps - 1) positions; the wanted ones start at the padding.
    height, width = (stride * (size + tap - 1) for size, tap in zip(image, taps, strict=True))
    ends = [pads[2 + axis] + stride * taps[axis] - kernel[axis] - extra[axis] for axis in (0, 1)]
    if min(ends) < 0:
        return None  # output padding beyond what the sub-kernels reach
    wanted = [*pads[:2], height - ends[0], width - ends[1]]
    tensors = [_named(phases), *(_named(np.tile(array, stride * stride)) for array in bias)]
    around = [taps[0] - 1, taps[1] - 1] * 2
    name, output = node.name, node.output[0]
    convolution = helper.make_node(
        "Conv", [node.input[0], *(t.name for t in tensors)], [f"{output}.phases"], name=name, pads=around
    )
    moves, numbers = _interleaved(f"{output}.phases", output, name, stride, (height, width, outputs), wanted)
    return convolution, moves, [*tensors, *numbers]


def _interleaved(
    phases: str, output: str, name: str, stride: int, size: tuple[int, int, int], wanted: Sequence[int]
) -> tuple[Nodes, list[onnx.TensorProto]]:
    """Nodes that put (n, stride * stride * channels, height / stride, width / stride) side by side and cut out
    what is ``wanted``: top, left, bottom, right.
    """
    height, width, channels = size
    apart = _named(np.array([0, 0, 0, stride, stride * channels], np.int64))
    beside = _named(np.array([-1, height, width, channels], np.int64))
    begin, end = (_named(np.array(at, np.int64)) for at in (wanted[:2], wanted[2:]))
    axes = _named(np.array([1, 2], np.int64))
    tensors = [apart, beside, begin, end, axes]
    first: tuple[str, list[str], dict[str, Any]] = ("Transpose", [], {"perm": (0, 3, 1, 2)})
    if channels == 1:  # a shape says the same, and there is nothing to move
        tensors.append(_named(np.array([-1, 1, wanted[2] - wanted[0], wanted[3] - wanted[1]], np.int64)))
        first = ("Reshape", [tensors[-1].name], {})
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Transpose", [], {"perm": (0, 2, 3, 1)}),  # channels last
        ("Reshape", [apart.name], {}),  # (n, rows, columns, phase, phase and channel)
        ("Transpose", [], {"perm": (0, 1, 3, 2, 4)}),
        ("Reshape", [beside.name], {}),
        ("Slice", [begin.name, end.name, axes.name], {}),
        first,  # channels first
    ]
    moves = []
    before = phases
    for at, (kind, numbers, said) in enumerate(steps, 1):
        after = output if at == len(steps) else f"{output}.{at}"
        moves.append(helper.make_node(kind, [before, *numbers], [after], name=f"{name}.{at}", **said))
        before = after
    return moves, tensors


def _activation_first(
    nodes: Nodes, moves: Sequence[onnx.NodeProto], scalars: dict[str, NDArray[np.generic]], outputs: set[str]
) -> Nodes:
    """Move what is elementwise behind an unrolled convolution in front of its moves, if one tensor leaves it."""
    first, last = moves[0], moves[-1]
    phases, before = first.input[0], last.output[0]
    taken, behind, leaving = Nodes(), {before}, outputs & {before}
    for node in nodes:
        if read := behind.intersection(node.input):
            if is_elementwise(node, behind, scalars, axes=2):
                taken.append(node)
                behind.add(node.output[0])
                leaving |= outputs.intersection(node.output)
            else:
                leaving |= read
    if before in leaving or len(leaving) != 1:
        return nodes
    (after,) = leaving
    renamed = {before: phases, after: f"{after}.phases"}
    for node in taken:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    first.input[0], last.output[0] = renamed[after], after
    rest = [node for node in nodes if not any(node is other for other in taken)]
    at = next(i for i, node in enumerate(rest) if node is first)
    return [*rest[:at], *taken, *rest[at:]]


def _named(array: NDArray[np.generic]) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(array)
    tensor.name = weight_name(tensor)
    return tensor
