"""Nearest-neighbour upsampling and the convolution behind it as one transposed convolution.

After upsampling by s a kernel of k x k reads each pixel up to k times per axis, and multiplies copies. The
weights that meet the same pixel added up are a transposed convolution of k + s - 1 with stride s: for 3 x 3 and
s = 2, 16 products per pixel instead of 36, and no enlarged copy is written or read. What lies between the two
moves to the small image where it computes the same there: elementwise operators, and group norms, whose means
and variances do not change when every pixel is counted s x s times. Measured in docs/benchmarks.md.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .clean import weight_name
from .elementwise import is_elementwise

Constants = dict[str, NDArray[np.generic]]


def merge_upsampling(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new model without the upsamplings whose every reader ends in a convolution that can do their work.

    Exact but for rounding, by precondition: nearest neighbour by whole factors, the source index rounded down;
    convolutions of one group with constant weights, no stride and no dilation; sums of weights are formed in
    float64 and rounded once.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants: Constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    merged = []
    for resize in graph.node:
        factors = _factors(resize, constants)
        convolutions = _only_convolutions_behind(graph, resize.output[0], constants, len(factors)) if factors else []
        if not _all_can(convolutions, factors, constants):
            continue
        for convolution in convolutions:
            weight = _transposed_weight(constants[convolution.input[1]], factors)
            tensor = numpy_helper.from_array(weight)
            tensor.name = weight_name(tensor)
            if tensor.name not in constants:
                constants[tensor.name] = weight
                graph.initializer.append(tensor)
            _make_transposed(convolution, tensor.name, weight.shape[2:], factors)
        for node in graph.node:
            node.input[:] = [resize.input[0] if name == resize.output[0] else name for name in node.input]
        merged.append(resize.output[0])
    nodes = [node for node in graph.node if node.output[0] not in merged]
    used = {name for node in nodes for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]  # shapes between have changed
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return result


def _factors(node: onnx.NodeProto, constants: Constants) -> tuple[int, ...]:
    """Of a nearest upsampling, the whole factor per spatial axis; empty for every other node."""
    if node.op_type != "Resize" or len(node.input) != 3 or node.input[2] not in constants:
        return ()
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    mode = said.get("mode", b"nearest"), said.get("coordinate_transformation_mode"), said.get("nearest_mode")
    scales = constants[node.input[2]].astype(np.float64)
    if mode != (b"nearest", b"asymmetric", b"floor") or said.get("axes") or len(scales) < 3:
        return ()
    if (scales[:2] != 1).any() or (scales != np.round(scales)).any() or (scales < 1).any():
        return ()
    return tuple(int(scale) for scale in scales[2:])


def _only_convolutions_behind(
    graph: onnx.GraphProto, start: str, constants: Constants, axes: int
) -> list[onnx.NodeProto]:
    """The convolutions that read a tensor, or what elementwise operators and group norms make of it.

    Empty where anything else reads it: then the enlarged tensor is needed.
    """
    images, grouped, shapes = {start}, set[str](), set[str]()
    given = {value.name for value in graph.output}
    if start in given:
        return []
    found = []
    for node in graph.node:
        read = set(node.input) & (images | grouped | shapes)
        if not read:
            continue
        kind, first, output = node.op_type, node.input[0], node.output[0]
        if kind == "Conv" and read == {first} <= images:
            found.append(node)
            continue
        if kind == "Shape" and first in images:
            shapes.add(output)
        elif kind == "InstanceNormalization" and read == {first}:
            (images if first in images else grouped).add(output)
        elif kind == "Reshape" and first in images and _groups_channels(constants.get(node.input[1])):
            grouped.add(output)  # (n, groups, all of a group)
        elif (kind == "Reshape" and first in grouped and node.input[1] in shapes) or is_elementwise(
            node, images, constants, axes=axes
        ):
            images.add(output)
        else:
            return []
        if output in given:
            return []
    return found


def _groups_channels(target: NDArray[np.generic] | None) -> bool:
    return target is not None and target.shape == (3,) and target[0] == 0 and target[1] > 0 and target[2] == -1


def _all_can(nodes: list[onnx.NodeProto], factors: tuple[int, ...], constants: Constants) -> bool:
    """Whether there are convolutions, all can take the factors in, and one of them saves products by it."""
    saves = False
    for node in nodes:
        said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weight = constants.get(node.input[1])
        if weight is None or weight.ndim != len(factors) + 2 or said.get("auto_pad", b"NOTSET") != b"NOTSET":
            return False
        plain = {*said.get("strides", [1]), *said.get("dilations", [1]), said.get("group", 1)} == {1}
        pads = said.get("pads", [0] * (2 * len(factors)))
        kernel = weight.shape[2:]
        if not plain or any(pad >= size for pad, size in zip(pads, kernel * 2, strict=True)):
            return False
        saves |= any(size > 1 and factor > 1 for size, factor in zip(kernel, factors, strict=True))
    return saves


def _transposed_weight(weight: NDArray[np.generic], factors: tuple[int, ...]) -> NDArray[np.float32]:
    """(out, in, *kernel) of the convolution to (in, out, *(kernel + factor - 1)): every copy's weights added up."""
    kernel = weight.shape[2:]
    turned = np.flip(weight.astype(np.float64), tuple(range(2, weight.ndim)))  # ConvTranspose does not correlate
    whole = np.zeros((*weight.shape[:2], *(k + factor - 1 for k, factor in zip(kernel, factors, strict=True))))
    for copy in np.ndindex(*factors):
        place = (slice(None), slice(None), *(slice(at, at + size) for at, size in zip(copy, kernel, strict=True)))
        whole[place] += turned
    return np.ascontiguousarray(whole.swapaxes(0, 1)).astype(np.float32)


def _make_transposed(node: onnx.NodeProto, weight: str, kernel: tuple[int, ...], factors: tuple[int, ...]) -> None:
    """Turn a Conv into the ConvTranspose of that weight, in place; what it padded the other cuts off less."""
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads = said.get("pads", [0] * (2 * len(kernel)))
    before = [size - factor for size, factor in zip(kernel, factors, strict=True)]  # of the Conv's kernel, less 1
    node.op_type = "ConvTranspose"
    node.input[1] = weight
    del node.attribute[:]
    node.attribute.extend(
        [
            helper.make_attribute("kernel_shape", kernel),
            helper.make_attribute("pads", [size - pad for size, pad in zip(before * 2, pads, strict=True)]),
            helper.make_attribute("strides", factors),
        ]
    )
