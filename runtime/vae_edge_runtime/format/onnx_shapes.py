"""The shape that each operator of ``onnx_ops`` makes of the shapes of its inputs, for one number of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .limits import MAX_KNOWN_ELEMENTS, MAX_RANK
from .onnx_values import Node, Shape, Unknown, Value, axis_of, broadcast, evaluate, need, sliced

FLOAT, UINT8, INT32, INT64, BOOL = 1, 2, 6, 7, 9

Rule = Callable[[Node], "Shape | list[Shape | None]"]


def infer(node: Node, constant: Value | None) -> list[Value]:
    """What is known of the outputs of a node; ``constant`` is the value of a Constant, or of a ConstantOfShape."""
    if node.op == "Constant":
        return [Value(static=True) if constant is None else constant]
    static = node.op in ("Shape", "Size") or all(value is None or value.static for value in node.inputs)
    elements = _elements(node, constant)
    values = [Value(None, element, static=static) for element in elements[: node.outputs]]
    values += [Value(static=static) for _ in range(node.outputs - len(values))]
    try:
        shapes = RULES[node.op](node)
        for value, shape in zip(values, [shapes] * node.outputs if isinstance(shapes, tuple) else shapes, strict=False):
            value.shape = shape
        if static:
            _work_out(node, values, constant)
    except (Unknown, ValueError, TypeError, IndexError, ArithmeticError, MemoryError):
        pass  # the engine will say what is wrong with it, or it is beyond arithmetic
    return values


def _work_out(node: Node, values: list[Value], constant: Value | None) -> None:
    """The numbers of static outputs, where they are few and known."""
    shape = need(values[0].shape)
    if node.op == "Shape":
        whole = node.shape(0)
        values[0].array = np.array(whole[node.number("start", 0) : _end(node, len(whole))], np.int64)
    elif node.op == "Size":
        values[0].array = np.array(math.prod(node.shape(0)), np.int64)
    elif node.op == "ConstantOfShape":
        fill = np.zeros(1, np.float32) if constant is None else need(constant.array).ravel()[:1]
        if math.prod(shape) <= MAX_KNOWN_ELEMENTS:
            values[0].array = np.full(shape, fill)
    elif node.op == "Split":
        axis = axis_of(node.number("axis", 0), len(shape))
        cuts = np.cumsum([need(value.shape)[axis] for value in values])[:-1]
        for value, part in zip(values, np.split(need(node.input(0).array), cuts, axis), strict=True):
            value.array = part
    else:
        values[0].array = evaluate(node, shape, values[0].element)


def _elements(node: Node, constant: Value | None) -> list[int | None]:
    """Element types of the outputs."""
    op, first = node.op, node.input(0).element
    if op in _BOOLEAN:
        return [BOOL]
    if op in _FIXED:
        return [_FIXED[op]]
    if op in _OF_INPUT:
        return [node.input(_OF_INPUT[op]).element]
    if op == "ConstantOfShape":
        return [FLOAT if constant is None else constant.element]
    if op == "Cast":
        return [node.number("to", 0)]
    if op == "EyeLike":
        return [node.number("dtype", first or 0)]
    if op == "QuantizeLinear":
        return [node.input(2).element if node.has(2) else UINT8]
    if op in ("TopK", "MaxPool"):
        return [first, INT64]
    return [first] * node.outputs


_FIXED = {"Shape": INT64, "Size": INT64, "ArgMax": INT64, "ArgMin": INT64, "ConvInteger": INT32, "MatMulInteger": INT32}
_OF_INPUT = {"Where": 1, "CastLike": 1, "OneHot": 2, "QLinearConv": 7, "QLinearMatMul": 7, "DequantizeLinear": 1}
_BOOLEAN = frozenset("Equal Less Greater LessOrEqual GreaterOrEqual And Or Not Xor IsNaN IsInf".split())  # noqa: SIM905


def _end(node: Node, rank: int) -> int:
    return node.number("end", rank)


def _same(node: Node) -> Shape:
    return node.shape(0)


def _broadcast(node: Node) -> Shape:
    return broadcast([node.shape(i) for i in range(len(node.inputs)) if node.has(i)])


def _matmul_of(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise Unknown
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    shape = (*broadcast([left[:-2], right[:-2]]), left[-2], right[-1])
    if len(a) == 1:
        shape = (*shape[:-2], shape[-1])
    return shape[:-1] if len(b) == 1 else shape


def _matmul(node: Node) -> Shape:
    second = 3 if node.op == "QLinearMatMul" else 1
    return _matmul_of(node.shape(0), node.shape(second))


def _gemm(node: Node) -> Shape:
    (a, b), (c, d) = node.shape(0), node.shape(1)
    return (b if node.number("transA", 0) else a, c if node.number("transB", 0) else d)


def _einsum(node: Node) -> Shape:
    left, arrow, right = node.text("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    if not arrow or "." in left:
        raise Unknown
    for i, letters in enumerate(left.split(",")):
        for letter, n in zip(letters, node.shape(i), strict=True):
            sizes[letter] = max(n, sizes.get(letter, 1))
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


def _conv(node: Node) -> Shape:
    x, w = node.shape(0), node.shape(3 if node.op == "QLinearConv" else 1)
    return (x[0], w[0], *_windows(node, x[2:], node.numbers("kernel_shape") or w[2:]))


def _transposed(node: Node) -> Shape:
    x, w = node.shape(0), node.shape(1)
    n = len(x) - 2
    channels = w[1] * node.number("group", 1)
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


def _pool(node: Node) -> Shape:
    x = node.shape(0)
    return (*x[:2], *_windows(node, x[2:], need(node.numbers("kernel_shape"))))


def _global_pool(node: Node) -> Shape:
    x = node.shape(0)
    return (*x[:2], *[1] * (len(x) - 2))


def _recurrent(node: Node) -> list[Shape | None]:
    x, r = node.shape(0), node.shape(2)
    directions, hidden, last = r[0], r[-1], node.number("layout", 0)
    steps, batch = (x[1], x[0]) if last else (x[0], x[1])
    state = (batch, directions, hidden) if last else (directions, batch, hidden)
    whole = (batch, steps, directions, hidden) if last else (steps, directions, batch, hidden)
    return [whole, state, state]


def _reduce(node: Node) -> Shape:
    x, keep = node.shape(0), node.number("keepdims", 1)
    if node.op in ("ArgMax", "ArgMin"):
        axes: list[int] | None = [node.number("axis", 0)]
    else:
        axes = node.given(1, "axes")
    if not axes and node.number("noop_with_empty_axes", 0):
        return x
    gone = {axis_of(axis, len(x)) for axis in axes} if axes else set(range(len(x)))
    return tuple(1 if i in gone else n for i, n in enumerate(x) if keep or i not in gone)


def _topk(node: Node) -> Shape:
    x, axis = list(node.shape(0)), node.number("axis", -1)
    (x[axis_of(axis, len(x))],) = need(node.input(1).integers())
    return tuple(x)


def _of_numbers(node: Node) -> Shape:
    shape = need(node.input(0).integers())
    return _checked(shape)


def _checked(sizes: Sequence[int]) -> Shape:
    if len(sizes) > MAX_RANK or any(n < 0 for n in sizes):
        raise Unknown
    return tuple(sizes)


def _range(node: Node) -> Shape:
    start, stop, step = (need(node.input(i).array).item() for i in range(3))
    length = (stop - start) / step if isinstance(step, float) else -(-(stop - start) // step)
    return (max(0, math.ceil(length)),)


def _one_hot(node: Node) -> Shape:
    x = list(node.shape(0))
    depth = int(need(node.input(1).array).ravel()[0])
    at = node.number("axis", -1)
    x.insert(at + len(x) + 1 if at < 0 else at, max(0, depth))
    return tuple(x)


def _shape_of(node: Node) -> Shape:
    whole = node.shape(0)
    return (len(whole[slice(node.number("start", 0), _end(node, len(whole)))]),)


def _reshape(node: Node) -> Shape:
    x, wanted = node.shape(0), need(node.input(1).integers())
    if not node.number("allowzero", 0):
        wanted = [x[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        wanted = [math.prod(x) // rest if n == -1 else n for n in wanted]
    return _checked(wanted)


def _flatten(node: Node) -> Shape:
    x, axis = node.shape(0), node.number("axis", 1)
    axis = axis if axis == len(x) else axis_of(axis, len(x))
    return (math.prod(x[:axis]), math.prod(x[axis:]))


def _transpose(node: Node) -> Shape:
    x = node.shape(0)
    return tuple(x[i] for i in node.numbers("perm") or range(len(x))[::-1])


def _squeeze(node: Node) -> Shape:
    x, axes = node.shape(0), node.given(1, "axes")
    gone = {axis_of(a, len(x)) for a in axes} if axes else {i for i, n in enumerate(x) if n == 1}
    return tuple(n for i, n in enumerate(x) if i not in gone)


def _unsqueeze(node: Node) -> Shape:
    x, axes = node.shape(0), need(node.given(1, "axes"))
    rank = len(x) + len(axes)
    places, rest = {axis_of(a, rank) for a in axes}, iter(x)
    return tuple(1 if i in places else next(rest) for i in range(rank))


def _concat(node: Node) -> Shape:
    shapes = [node.shape(i) for i in range(len(node.inputs))]
    axis = axis_of(node.number("axis", 0), len(shapes[0]))
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def _split(node: Node) -> list[Shape | None]:
    x = node.shape(0)
    axis = axis_of(node.number("axis", 0), len(x))
    lengths = node.given(1, "split")
    if lengths is None:
        count = node.number("num_outputs", node.outputs)
        each = -(-x[axis] // count)
        lengths = [*[each] * (count - 1), x[axis] - each * (count - 1)]
    return [(*x[:axis], n, *x[axis + 1 :]) for n in lengths]


def _gather(node: Node) -> Shape:
    x, axis = node.shape(0), node.number("axis", 0)
    axis = axis_of(axis, len(x))
    return (*x[:axis], *node.shape(1), *x[axis + 1 :])


def _gather_nd(node: Node) -> Shape:
    x, indices = node.shape(0), node.shape(1)
    return (*indices[:-1], *x[node.number("batch_dims", 0) + indices[-1] :])


def _expand(node: Node) -> Shape:
    return broadcast([node.shape(0), _checked(need(node.input(1).integers()))])


def _tile(node: Node) -> Shape:
    return tuple(n * k for n, k in zip(node.shape(0), _checked(need(node.input(1).integers())), strict=True))


def _pad(node: Node) -> Shape:
    x, pads = list(node.shape(0)), need(node.input(1).integers())
    axes = need(node.input(3).integers()) if node.has(3) else list(range(len(x)))
    for i, axis in enumerate(axes):
        x[axis_of(axis, len(x))] += pads[i] + pads[i + len(axes)]
    return tuple(max(0, n) for n in x)


def _resize(node: Node) -> Shape:
    x = list(node.shape(0))
    axes = node.numbers("axes") or list(range(len(x)))
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unknown
    if node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Unknown
    if node.has(3):
        sizes = need(node.input(3).integers())
    else:
        scales = need(node.input(2).array).ravel()
        sizes = [math.floor(x[axis_of(a, len(x))] * float(s)) for a, s in zip(axes, scales, strict=True)]
    for axis, size in zip(axes, sizes, strict=True):
        x[axis_of(axis, len(x))] = max(0, size)
    return tuple(x)


def _blocks(node: Node) -> Shape:
    n, c, h, w = node.shape(0)
    b = node.number("blocksize", 0)
    return (n, c // (b * b), h * b, w * b) if node.op == "DepthToSpace" else (n, c * b * b, h // b, w // b)


def _col2im(node: Node) -> Shape:
    x, image, block = node.shape(0), need(node.input(1).integers()), need(node.input(2).integers())
    return (x[0], x[1] // math.prod(block), *_checked(image))


def _batch_norm(node: Node) -> list[Shape | None]:
    return [node.shape(0), *[(node.shape(0)[1],)] * 2]


def _layer_norm(node: Node) -> list[Shape | None]:
    x, axis = node.shape(0), node.number("axis", -1)
    axis = axis_of(axis, len(x))
    statistics = (*x[:axis], *[1] * (len(x) - axis))
    return [x, statistics, statistics]


def _rules() -> dict[str, Rule]:
    by_rule: dict[Rule, str] = {
        _same: """Abs Neg Sqrt Reciprocal Exp Log Erf Sign Clip Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh
            Asinh Acosh Atanh CumSum Relu LeakyRelu Elu Celu Selu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh
            Softplus Softsign Mish Softmax LogSoftmax Hardmax InstanceNormalization LpNormalization LRN Cast CastLike
            Identity EyeLike Trilu ScatterElements ScatterND Not IsNaN IsInf QuantizeLinear DequantizeLinear""",
        _broadcast: """Add Sub Mul Div Pow Mod Sum Mean Min Max PRelu Equal Less Greater LessOrEqual GreaterOrEqual And
            Or Xor Where""",
        _matmul: "MatMul QLinearMatMul MatMulInteger",
        _gemm: "Gemm",
        _einsum: "Einsum",
        _conv: "Conv QLinearConv ConvInteger",
        _transposed: "ConvTranspose",
        _recurrent: "RNN GRU LSTM",
        _pool: "AveragePool MaxPool LpPool",
        _global_pool: "GlobalAveragePool GlobalMaxPool GlobalLpPool",
        _reduce: """ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
            ReduceSumSquare ArgMax ArgMin""",
        _topk: "TopK",
        _of_numbers: "ConstantOfShape",
        _range: "Range",
        _one_hot: "OneHot",
        _shape_of: "Shape",
        lambda node: (): "Size",
        _reshape: "Reshape",
        _flatten: "Flatten",
        _transpose: "Transpose",
        _squeeze: "Squeeze",
        _unsqueeze: "Unsqueeze",
        _concat: "Concat",
        _split: "Split",
        sliced: "Slice",
        _gather: "Gather",
        lambda node: node.shape(1): "GatherElements",
        _gather_nd: "GatherND",
        _expand: "Expand",
        _tile: "Tile",
        _pad: "Pad",
        _resize: "Resize",
        _blocks: "DepthToSpace SpaceToDepth",
        _col2im: "Col2Im",
        _batch_norm: "BatchNormalization",
        _layer_norm: "LayerNormalization",
    }
    return {op: rule for rule, names in by_rule.items() for op in names.split()}


RULES = _rules()
