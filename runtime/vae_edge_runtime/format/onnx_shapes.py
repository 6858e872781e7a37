"""The shape that each operator of ``onnx_ops`` makes of the shapes of its inputs, for one number of rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import numpy as np

from .limits import MAX_KNOWN_ELEMENTS, MAX_RANK
from .onnx_layers import (
    batch_norm,
    blocks,
    conv,
    einsum,
    gemm,
    global_pool,
    layer_norm,
    matmul,
    per_channel,
    pool,
    recurrent,
    transposed,
)
from .onnx_values import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    UINT8,
    Mismatch,
    Node,
    Shape,
    Unknown,
    Value,
    axis_of,
    broadcast,
    evaluate,
    fit,
    need,
    sliced,
)

Rule = Callable[[Node], "Shape | list[Shape | None]"]


def infer(node: Node, constant: Value | None) -> list[Value]:
    """What is known of the outputs of a node; ``constant`` is the value of a Constant, or of a ConstantOfShape."""
    if node.op == "Constant":
        return [constant or Value(static=True), *(Value(static=True) for _ in range(node.outputs - 1))][: node.outputs]
    static = node.op in ("Shape", "Size") or all(value is None or value.static for value in node.inputs)
    elements = _elements(node, constant)
    values = [Value(None, element, static=static) for element in elements[: node.outputs]]
    values += [Value(static=static) for _ in range(node.outputs - len(values))]
    try:
        shapes = RULES[node.op](node)
        for value, shape in zip(values, [shapes] * node.outputs if isinstance(shapes, tuple) else shapes, strict=False):
            value.shape = shape
    except Unknown:
        return values
    except (ValueError, TypeError, LookupError, ArithmeticError):
        raise Mismatch("operands that do not fit the operator") from None
    if static:
        with contextlib.suppress(Unknown, ValueError, TypeError, LookupError, ArithmeticError, MemoryError):
            _work_out(node, values, constant)
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


def _cumulated(node: Node) -> Shape:
    x, (axis,) = node.shape(0), need(node.input(1).integers())
    axis_of(axis, len(x))
    return x


def _topk(node: Node) -> Shape:
    x, axis = list(node.shape(0)), node.number("axis", -1)
    (k,) = need(node.input(1).integers())
    fit(0 <= k <= x[axis_of(axis, len(x))], f"the largest {k} of {x[axis_of(axis, len(x))]}")
    x[axis_of(axis, len(x))] = k
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
    fit(math.prod(node.input(1).shape or ()) <= MAX_RANK, f"a shape of more than {MAX_RANK} dimensions")
    x, wanted = node.shape(0), need(node.input(1).integers())
    if not node.number("allowzero", 0):
        wanted = [x[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        wanted = [math.prod(x) // max(rest, 1) if n == -1 else n for n in wanted]
    fit(math.prod(wanted) == math.prod(x), f"shape {wanted} of {math.prod(x)} elements")
    return _checked(wanted)


def _flatten(node: Node) -> Shape:
    x, axis = node.shape(0), node.number("axis", 1)
    axis = axis if axis == len(x) else axis_of(axis, len(x))
    return (math.prod(x[:axis]), math.prod(x[axis:]))


def _transpose(node: Node) -> Shape:
    x = node.shape(0)
    order = node.numbers("perm") or list(range(len(x)))[::-1]
    fit(sorted(order) == list(range(len(x))), f"order {order} of {len(x)} dimensions")
    return tuple(x[i] for i in order)


def _squeeze(node: Node) -> Shape:
    x, axes = node.shape(0), node.given(1, "axes")
    gone = {axis_of(a, len(x)) for a in axes} if axes else {i for i, n in enumerate(x) if n == 1}
    fit(axes != [] and all(x[i] == 1 for i in gone), f"axes {axes} of shape {list(x)}")
    return tuple(n for i, n in enumerate(x) if i not in gone)


def _unsqueeze(node: Node) -> Shape:
    x, axes = node.shape(0), need(node.given(1, "axes"))
    rank = len(x) + len(axes)
    places, rest = {axis_of(a, rank) for a in axes}, iter(x)
    fit(len(places) == len(axes), f"axes {axes} twice")
    return tuple(1 if i in places else next(rest) for i in range(rank))


def _concat(node: Node) -> Shape:
    shapes = [node.shape(i) for i in range(len(node.inputs))]
    axis = axis_of(node.number("axis", 0), len(shapes[0]))
    rest = {(*s[:axis], -1, *s[axis + 1 :]) for s in shapes}
    fit(len(rest) == 1, "shapes that cannot be joined")
    return (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])


def _split(node: Node) -> list[Shape | None]:
    x = node.shape(0)
    axis = axis_of(node.number("axis", 0), len(x))
    lengths = node.given(1, "split")
    if lengths is None:
        count = node.number("num_outputs", node.outputs)
        each = -(-x[axis] // count)
        lengths = [*[each] * (count - 1), x[axis] - each * (count - 1)]
    fit(
        sum(lengths) == x[axis] and min(lengths) >= 0 and len(lengths) == node.outputs,
        f"lengths {lengths} for {x[axis]} and {node.outputs} outputs",
    )
    return [(*x[:axis], n, *x[axis + 1 :]) for n in lengths]


def _gather(node: Node) -> Shape:
    x, axis = node.shape(0), node.number("axis", 0)
    axis = axis_of(axis, len(x))
    return (*x[:axis], *node.shape(1), *x[axis + 1 :])


def _gather_nd(node: Node) -> Shape:
    x, indices = node.shape(0), node.shape(1)
    return (*indices[:-1], *x[node.number("batch_dims", 0) + indices[-1] :])


def _elements_of(node: Node) -> Shape:
    x, indices, axis = node.shape(0), node.shape(1), node.number("axis", 0)
    fit(len(x) == len(indices), f"indices of {len(indices)} dimensions into {len(x)}")
    axis = axis_of(axis, len(x))
    fit(all(i == axis or k <= n for i, (k, n) in enumerate(zip(indices, x, strict=True))), "more indices than elements")
    if node.op == "GatherElements":
        return indices
    fit(node.shape(2) == indices, "updates and indices of different shapes")
    return x


def _scatter_nd(node: Node) -> Shape:
    x, indices = node.shape(0), node.shape(1)
    fit(bool(indices) and node.shape(2) == (*indices[:-1], *x[indices[-1] :]), "updates that do not fit the indices")
    return x


def _slope(node: Node) -> Shape:
    x = node.shape(0)
    fit(broadcast([x, node.shape(1)]) == x, "a slope that does not fit")
    return x


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


def _col2im(node: Node) -> Shape:
    x, image, block = node.shape(0), need(node.input(1).integers()), need(node.input(2).integers())
    return (x[0], x[1] // math.prod(block), *_checked(image))


def _rules() -> dict[str, Rule]:
    by_rule: dict[Rule, str] = {
        _same: """Abs Neg Sqrt Reciprocal Exp Log Erf Sign Clip Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh
            Asinh Acosh Atanh Relu LeakyRelu Elu Celu Selu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh
            Softplus Softsign Mish Softmax LogSoftmax Hardmax LpNormalization LRN Cast CastLike
            Identity EyeLike Trilu Not IsNaN IsInf""",
        _broadcast: """Add Sub Mul Div Pow Mod Sum Mean Min Max Equal Less Greater LessOrEqual GreaterOrEqual And
            Or Xor Where""",
        matmul: "MatMul QLinearMatMul MatMulInteger",
        gemm: "Gemm",
        einsum: "Einsum",
        conv: "Conv QLinearConv ConvInteger",
        transposed: "ConvTranspose",
        recurrent: "RNN GRU LSTM",
        pool: "AveragePool MaxPool LpPool",
        global_pool: "GlobalAveragePool GlobalMaxPool GlobalLpPool",
        _reduce: """ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
            ReduceSumSquare ArgMax ArgMin""",
        _cumulated: "CumSum",
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
        _elements_of: "GatherElements ScatterElements",
        _scatter_nd: "ScatterND",
        per_channel: "InstanceNormalization QuantizeLinear DequantizeLinear",
        _slope: "PRelu",
        _gather_nd: "GatherND",
        _expand: "Expand",
        _tile: "Tile",
        _pad: "Pad",
        _resize: "Resize",
        blocks: "DepthToSpace SpaceToDepth",
        _col2im: "Col2Im",
        batch_norm: "BatchNormalization",
        layer_norm: "LayerNormalization",
    }
    return {op: rule for rule, names in by_rule.items() for op in names.split()}


RULES = _rules()
