"""Shapes that layers with weights and windows make, and what their weights must be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .onnx_values import Node, Shape, Unknown, axis_of, broadcast, fit, need


def _matmul_of(a: Shape, b: Shape) -> Shape:
    fit(bool(a) and bool(b), "a matrix product of a single number")
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    fit(left[-1] == right[-2], f"shapes {list(a)} and {list(b)} have no matrix product")
    shape = (*broadcast([left[:-2], right[:-2]]), left[-2], right[-1])
    if len(a) == 1:
        shape = (*shape[:-2], shape[-1])
    return shape[:-1] if len(b) == 1 else shape


def matmul(node: Node) -> Shape:
    """MatMul and its integer forms."""
    second = 3 if node.op == "QLinearMatMul" else 1
    return _matmul_of(node.shape(0), node.shape(second))


def gemm(node: Node) -> Shape:
    """Gemm."""
    fit(len(node.shape(0)) == len(node.shape(1)) == 2, "Gemm of what is no matrix")
    (a, b), (c, d) = node.shape(0), node.shape(1)
    a, b = (b, a) if node.number("transA", 0) else (a, b)
    c, d = (d, c) if node.number("transB", 0) else (c, d)
    fit(b == c, f"shapes {list(node.shape(0))} and {list(node.shape(1))} have no matrix product")
    fit(not node.has(2) or broadcast([(a, d), node.shape(2)]) == (a, d), "a bias that does not fit")
    return (a, d)


def einsum(node: Node) -> Shape:
    """Einsum of named axes."""
    left, arrow, right = node.text("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    if not arrow or "." in left:
        raise Unknown
    for i, letters in enumerate(left.split(",")):
        for letter, n in zip(letters, node.shape(i), strict=True):
            fit(sizes.setdefault(letter, n) == n, f"sizes {n} and {sizes[letter]} of one letter")
    return tuple(sizes[letter] for letter in right)


def _windows(node: Node, sizes: Shape, kernel: Sequence[int]) -> Shape:
    """Spatial sizes of a convolution or pooling."""
    n = len(sizes)
    strides = node.numbers("strides") or [1] * n
    dilations = node.numbers("dilations") or [1] * n
    pads = node.numbers("pads") or [0] * (2 * n)
    auto, up = node.text("auto_pad", "NOTSET"), node.number("ceil_mode", 0)
    made = []
    for i, size in enumerate(sizes):
        reach = (kernel[i] - 1) * dilations[i] + 1
        if auto.startswith("SAME"):
            made.append(-(-size // strides[i]))
            continue
        room = size - reach + (0 if auto == "VALID" else pads[i] + pads[i + n])
        made.append((-(-room // strides[i]) if up else room // strides[i]) + 1)
    return tuple(max(0, n) for n in made)


def conv(node: Node) -> Shape:
    """Conv and its integer forms."""
    x, w = node.shape(0), node.shape(3 if node.op == "QLinearConv" else 1)
    group = node.number("group", 1)
    fit(len(w) == len(x) and w[1] * group == x[1] and w[0] % group == 0, f"weights {list(w)} for rows of {list(x)}")
    fit(tuple(node.numbers("kernel_shape") or w[2:]) == w[2:], "a kernel_shape that is not that of the weights")
    bias = 8 if node.op == "QLinearConv" else 2
    fit(node.op == "ConvInteger" or not node.has(bias) or node.shape(bias) == w[:1], "a bias that does not fit")
    return (x[0], w[0], *_windows(node, x[2:], node.numbers("kernel_shape") or w[2:]))


def transposed(node: Node) -> Shape:
    """ConvTranspose."""
    x, w = node.shape(0), node.shape(1)
    n, group = len(x) - 2, node.number("group", 1)
    fit(len(w) == len(x) and w[0] == x[1] and x[1] % group == 0, f"weights {list(w)} for rows of {list(x)}")
    fit(tuple(node.numbers("kernel_shape") or w[2:]) == w[2:], "a kernel_shape that is not that of the weights")
    fit(not node.has(2) or node.shape(2) == (w[1] * group,), "a bias that does not fit")
    channels = w[1] * group
    if given := node.numbers("output_shape"):
        return (x[0], channels, *given[-n:])
    strides, dilations = node.numbers("strides") or [1] * n, node.numbers("dilations") or [1] * n
    extra, pads = node.numbers("output_padding") or [0] * n, node.numbers("pads") or [0] * (2 * n)
    kernel, auto = node.numbers("kernel_shape") or w[2:], node.text("auto_pad", "NOTSET")
    made = []
    for i, size in enumerate(x[2:]):
        if auto.startswith("SAME"):
            made.append(size * strides[i])
            continue
        whole = strides[i] * (size - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        made.append(whole - (0 if auto == "VALID" else pads[i] + pads[i + n]))
    return (x[0], channels, *(max(0, n) for n in made))


def pool(node: Node) -> Shape:
    """Pooling by windows."""
    x = node.shape(0)
    return (*x[:2], *_windows(node, x[2:], need(node.numbers("kernel_shape"))))


def global_pool(node: Node) -> Shape:
    """Pooling of whole images."""
    x = node.shape(0)
    return (*x[:2], *[1] * (len(x) - 2))


def recurrent(node: Node) -> list[Shape | None]:
    """RNN, GRU and LSTM: every step, the last state, and the cell."""
    x, r = node.shape(0), node.shape(2)
    directions, hidden, last = r[0], r[-1], node.number("layout", 0)
    steps, batch = (x[1], x[0]) if last else (x[0], x[1])
    state = (batch, directions, hidden) if last else (directions, batch, hidden)
    whole = (batch, steps, directions, hidden) if last else (steps, directions, batch, hidden)
    return [whole, state, state]


def batch_norm(node: Node) -> list[Shape | None]:
    """BatchNormalization."""
    x = node.shape(0)
    fit(len(x) >= 2 and all(node.shape(i) == (x[1],) for i in range(1, len(node.inputs))), "other channels than rows")
    return [x, (x[1],), (x[1],)]


def layer_norm(node: Node) -> list[Shape | None]:
    """LayerNormalization."""
    x, axis = node.shape(0), node.number("axis", -1)
    axis = axis_of(axis, len(x))
    for i in range(1, len(node.inputs)):
        fit(not node.has(i) or broadcast([x[axis:], node.shape(i)]) == x[axis:], "a scale that does not fit")
    statistics = (*x[:axis], *[1] * (len(x) - axis))
    return [x, statistics, statistics]


def per_channel(node: Node) -> Shape:
    """Of a norm over each channel, and of numbers with a scale for each."""
    x = node.shape(0)
    if node.op == "InstanceNormalization":
        fit(len(x) >= 3 and node.shape(1) == node.shape(2) == (x[1],), "other channels than rows")
        return x
    scale = node.shape(1)
    if math.prod(scale) != 1:
        axis = axis_of(node.number("axis", 1), len(x))
        fit(scale == (x[axis],), f"{list(scale)} scales for {x[axis]} channels")
    fit(not node.has(2) or math.prod(node.shape(2)) == math.prod(scale), "scales and zero points that differ")
    return x


def blocks(node: Node) -> Shape:
    """DepthToSpace and SpaceToDepth."""
    fit(len(node.shape(0)) == 4, f"{len(node.shape(0))} dimensions, not 4")
    n, c, h, w = node.shape(0)
    b = node.number("blocksize", 0)
    fit((c % (b * b) if node.op == "DepthToSpace" else h % b + w % b) == 0, f"blocks of {b} in {[c, h, w]}")
    return (n, c // (b * b), h * b, w * b) if node.op == "DepthToSpace" else (n, c * b * b, h // b, w // b)
