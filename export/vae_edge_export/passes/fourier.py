"""Fourier transforms of a fixed length become matrix products, and those of windows a convolution.

TensorRT has neither DFT nor STFT. Of a fixed length N the transform is a product with the matrix of cosines and sines
of 2 pi k n / N, which every engine has; measured against float64 PyTorch it loses 1e-7.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .extents import inferred_values

_MOST_ELEMENTS = 5_000_000
"""Of a matrix: 20 MB, a real transform of 2,048 values. A longer one stays, and is refused with its line."""

Shapes = Mapping[str, list[int]]


def multiply_by_spectra(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every DFT and STFT whose lengths are fixed, in place."""
    graph = model.graph
    if not any(node.op_type in _WRITERS for node in graph.node):
        return model
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes = {
        value.name: [dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]
        for value in inferred_values(model)
        if value.type.tensor_type.HasField("shape")
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        writer = _WRITERS.get(node.op_type)
        nodes += (writer(node, shapes, constants, graph) if writer else None) or [node]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _dft(
    node: onnx.NodeProto, shapes: Shapes, constants: Mapping[str, NDArray[np.generic]], graph: onnx.GraphProto
) -> list[onnx.NodeProto] | None:
    """Nodes in place of a DFT of (..., length, 1 or 2) along one axis; None where something is not fixed."""
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    shape = shapes.get(node.input[0], [])
    rank, inverse, onesided = len(shape), bool(options.get("inverse")), bool(options.get("onesided"))
    axis = int(options.get("axis", 1)) % rank if rank else 0
    if len(node.input) > 2 or rank < 3 or 0 in shape[1:] or axis == 0:
        return None
    length, parts = shape[axis], shape[-1]
    size = length
    if len(node.input) == 2 and node.input[1]:
        if node.input[1] not in constants:
            return None
        size = int(np.asarray(constants[node.input[1]]).reshape(-1)[0])
    matrix = _spectrum(length, size, parts, inverse=inverse, onesided=onesided)
    if matrix.size > _MOST_ELEMENTS:
        return None
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    moved = [shape[i] for i in order]
    bins = matrix.shape[1] // 2
    name = node.output[0]
    flat = _constant(graph, f"{name}_flat", np.array([0, *moved[1:-2], length * parts], np.int64))
    paired = _constant(graph, f"{name}_paired", np.array([0, *moved[1:-2], bins, 2], np.int64))
    back = [order.index(i) for i in range(rank)]
    steps = [
        helper.make_node("Transpose", [node.input[0]], [f"{name}_moved"], perm=order),
        helper.make_node("Reshape", [f"{name}_moved", flat], [f"{name}_row"]),
        helper.make_node("MatMul", [f"{name}_row", _constant(graph, f"{name}_matrix", matrix)], [f"{name}_product"]),
        helper.make_node("Reshape", [f"{name}_product", paired], [f"{name}_bins"]),
        helper.make_node("Transpose", [f"{name}_bins"], [name], perm=back),
    ]
    return _with_origin(node, steps)


def _stft(
    node: onnx.NodeProto, shapes: Shapes, constants: Mapping[str, NDArray[np.generic]], graph: onnx.GraphProto
) -> list[onnx.NodeProto] | None:
    """Nodes in place of an STFT of real rows (n, length, 1): windows are the steps of a convolution."""
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    given = [constants.get(name) if name else None for name in node.input[1:]]
    shape = shapes.get(node.input[0], [])
    step, window, frame = (*given, None, None)[:3]
    if step is None or (window is None and frame is None) or len(shape) not in (2, 3) or (shape[2:] or [1]) != [1]:
        return None
    size = int(frame.reshape(-1)[0]) if frame is not None else np.asarray(window).size
    matrix = _spectrum(size, size, 1, inverse=False, onesided=bool(options.get("onesided", 1)))
    if window is not None:
        matrix = matrix * np.asarray(window, np.float64).astype(np.float32).reshape(-1, 1)
    if matrix.size > _MOST_ELEMENTS:
        return None
    name = node.output[0]
    kernel = _constant(graph, f"{name}_kernel", np.ascontiguousarray(matrix.T[:, None], np.float32))
    row = _constant(graph, f"{name}_channel", np.array([0, 1, -1], np.int64))
    paired = _constant(graph, f"{name}_paired", np.array([0, 0, matrix.shape[1] // 2, 2], np.int64))
    steps = [
        helper.make_node("Reshape", [node.input[0], row], [f"{name}_row"]),
        helper.make_node(
            "Conv", [f"{name}_row", kernel], [f"{name}_product"],
            strides=[int(step.reshape(-1)[0])], kernel_shape=[size],
        ),
        helper.make_node("Transpose", [f"{name}_product"], [f"{name}_frames"], perm=[0, 2, 1]),
        helper.make_node("Reshape", [f"{name}_frames", paired], [name]),
    ]  # fmt: skip
    return _with_origin(node, steps)


def _spectrum(length: int, size: int, parts: int, *, inverse: bool, onesided: bool) -> NDArray[np.float32]:
    """(length * parts, bins * 2): real and imaginary parts side by side, on both sides.

    Args:
        length: of the input; what lies beyond ``size`` is cut, what it lacks is zero.
        parts: 1 for a real input, 2 for a complex one.
        onesided: forward: the first half of the bins; inverse: of them, a real row of ``size`` values.
    """
    half = size // 2 + 1
    count, bins = (min(length, half), size) if inverse and onesided else (min(length, size), half if onesided else size)
    n, k = np.arange(count)[:, None], np.arange(bins)[None]
    turn = (n * k) % size
    angle = 2 * np.pi * turn / size
    # Exactly 0 at half a turn: the angle of a real bin is 0 or pi, and depends on that.
    sine = np.where(2 * turn == size, 0.0, np.sin(angle))
    cosine, sine = np.cos(angle), (1 if inverse else -1) * sine
    if inverse:
        # Bins that were left out are the conjugates of those there are, except for the first and the middle one.
        alone = (n == 0) | (2 * n == size) if onesided else np.ones_like(n, bool)
        cosine, sine = (part * np.where(alone, 1.0, 2.0) / size for part in (cosine, sine))
    matrix = np.zeros((length, parts, bins, 2))
    matrix[:count, 0, :, 0] = cosine
    if not (inverse and onesided):  # its result is real
        matrix[:count, 0, :, 1] = sine
    if parts == 2:
        matrix[:count, 1, :, 0] = -sine
        if not (inverse and onesided):
            matrix[:count, 1, :, 1] = cosine
    return matrix.reshape(length * parts, bins * 2).astype(np.float32)


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _with_origin(node: onnx.NodeProto, steps: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    for at, step in enumerate(steps):
        step.name = f"{node.name}_{at}"
        step.metadata_props.extend(node.metadata_props)
    return steps


_WRITERS = {"DFT": _dft, "STFT": _stft}
