"""ConvTranspose as an ordinary convolution whose channels are interleaved: the form integer kernels exist for.

With stride s every output position reads one of s x s sub-kernels. One convolution computes all of
them as channels, DepthToSpace puts them side by side, and a slice cuts the padding off (the
sub-pixel convolution of Shi et al. 2016, read backwards). Nothing is added or left out.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from vae_edge_export.passes.clean import weight_name


def unroll_transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model; each 2-D ConvTranspose with constant weights, one group and no dilation becomes a Conv."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        given = [name for name in node.input[1:] if name]
        rewritten = None
        if node.op_type == "ConvTranspose" and all(name in constants for name in given):
            rewritten = _unrolled(node, *(numpy_helper.to_array(constants[name]) for name in given))
        if rewritten is None:
            nodes.append(node)
            continue
        made, tensors = rewritten
        nodes += made
        have = {t.name for t in graph.initializer}
        graph.initializer.extend(t for t in tensors if t.name not in have)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return result


def _unrolled(
    node: onnx.NodeProto, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]] | None:
    """Nodes and constants that compute the same, or None where the node is of another kind."""
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if weight.ndim != 4 or said.get("group", 1) != 1 or set(said.get("dilations", [1])) != {1}:
        return None
    strides, pads = said.get("strides", [1, 1]), said.get("pads", [0] * 4)
    extra = said.get("output_padding", [0, 0])
    stride = strides[0]
    plain = said.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in said
    if not plain or strides[0] != strides[1] or stride == 1:
        return None
    inputs, outputs, *kernel = weight.shape
    taps = [-(-size // stride) for size in kernel]
    whole = np.zeros((inputs, outputs, taps[0] * stride, taps[1] * stride), np.float32)
    whole[:, :, : kernel[0], : kernel[1]] = weight
    # (in, out, tap, phase, tap, phase) -> (out, phase, phase, in, tap, tap), taps reversed: Conv correlates.
    phases = whole.reshape(inputs, outputs, taps[0], stride, taps[1], stride).transpose(1, 3, 5, 0, 2, 4)
    flipped = np.ascontiguousarray(phases[..., ::-1, ::-1]).reshape(-1, inputs, *taps)
    name, output = node.name, node.output[0]
    tensors = [_named(flipped)]
    if bias is not None:
        tensors.append(_named(np.repeat(bias, stride * stride)))
    # Interleaved there are stride * (size + taps - 1) positions; the wanted ones start at the padding.
    ends = [pads[2 + axis] + stride * taps[axis] - kernel[axis] - extra[axis] for axis in (0, 1)]
    if min(ends) < 0:
        return None  # output padding beyond what the sub-kernels reach
    bounds = [np.array(pads[:2], np.int64), np.array([-end if end else np.iinfo(np.int64).max for end in ends])]
    tensors += [_named(array) for array in (*bounds, np.array([2, 3], np.int64))]
    first = [t.name for t in tensors]
    around = [taps[0] - 1, taps[1] - 1] * 2
    inputs_of_conv = [node.input[0], *first[:-3]]
    made = [
        helper.make_node("Conv", inputs_of_conv, [f"{output}.phases"], name=name, pads=around),
        helper.make_node(
            "DepthToSpace", [f"{output}.phases"], [f"{output}.padded"], name=f"{name}.interleave",
            blocksize=stride, mode="CRD",
        ),
        helper.make_node("Slice", [f"{output}.padded", *first[-3:]], [output], name=f"{name}.crop"),
    ]  # fmt: skip
    return made, tensors


def _named(array: NDArray[np.generic]) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(array)
    tensor.name = weight_name(tensor)
    return tensor
