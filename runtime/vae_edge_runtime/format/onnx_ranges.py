"""Ranges that engines do not check: attributes and indices that ended their process in the runs of a fuzzer.

Measured: GatherND with ``batch_dims`` out of range and LSTM or GRU over no rows end onnxruntime 1.32 with a signal;
integer division by zero ends 1.23.2; an index of 10^9 and a ``hidden_size`` that the weights do not have end
OpenVINO 2026.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .limits import MAX_ELEMENTS, MAX_RANK, MAX_WINDOW, product
from .onnx_ops import ARITY, NO_GAPS
from .onnx_values import INTEGERS, NUMPY_TYPES, Array, Node, Value

SIZED = {
    "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "OneHot": (1,), "Pad": (1, 3), "Resize": (2, 3),
    "Range": (0, 1, 2), "Col2Im": (1, 2),
}  # fmt: skip
"""Operators that make more elements than they take, and the inputs that say how many."""

_SHAPED = {"Slice": (1, 2, 3, 4)} | dict.fromkeys(
    """Reshape Squeeze Unsqueeze Split TopK CumSum ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare""".split(),  # noqa: SIM905
    (1,),
)
"""Operators that say how the elements they take lie, and the inputs that say so."""

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def wrong_node(node: Node) -> str | None:
    """Why a node must not reach an engine, by its operands and attributes, or None."""
    least, most, outputs = ARITY[node.op]
    if not least <= len(node.inputs) <= most or node.outputs > outputs:
        return f"has {len(node.inputs)} inputs and {node.outputs} outputs, which the operator does not"
    if not all(node.has(i) for i in range(len(node.inputs) if node.op in NO_GAPS else least)):
        return "lacks an input that it needs"
    return _attributes(node) or _CHECKS.get(node.op, _nothing)(node)


def _nothing(_: Node) -> str | None:
    return None


def wrong_size(node: Node, outputs: Sequence[Value], rows: int) -> str | None:
    """Why a node must not reach an engine, by the shapes of what it makes of this number of rows, or None."""
    for value in outputs:
        if value.shape is None:
            continue
        if 0 in value.shape and not value.static:  # some kernels read the first element all the same
            return f"makes a tensor without elements, of shape {list(value.shape)}"
        if len(value.shape) > MAX_RANK:
            return f"makes a tensor of {len(value.shape)} dimensions; the limit is {MAX_RANK}"
        limit = MAX_ELEMENTS * rows
        # A tensor with an axis of no elements has none, but its other axes are sizes all the same.
        if (count := product(value.shape, limit)) > limit:
            return f"asks for {count} elements; the limit is {limit}" + (f" for {rows} rows" if rows > 1 else "")
    numbers: tuple[int, ...] = SIZED.get(node.op) or _SHAPED.get(node.op) or ()
    if not all(node.input(i).static for i in numbers if node.has(i)):
        return "takes its size from values that are known only when it runs"
    if node.op in SIZED and outputs and outputs[0].shape is None:
        return "has a size that does not follow from the graph"
    return None


def _attributes(node: Node) -> str | None:
    for name in node.names:
        if name in _FLAGS and node.number(name, 0) not in (0, 1):
            return f"has {name} {node.number(name, 0)}; it is 0 or 1"
        if name in _WINDOWS:
            low = _WINDOWS[name]
            for n in node.numbers(name) or [node.number(name, low)]:
                if not low <= n <= MAX_WINDOW:
                    return f"has {name} {n}; it is from {low} to {MAX_WINDOW}"
        if name in ("axis", "batch_dims") and not -MAX_RANK <= node.number(name, 0) <= MAX_RANK:
            return f"has {name} {node.number(name, 0)}, which is no axis"
    if node.op in _SPATIAL and (rank := node.input(0).rank) is not None:
        if rank < 3:
            return f"works on {rank} dimensions; it needs 3"
        for name, each in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("output_padding", 1), ("pads", 2)):
            numbers = node.numbers(name)
            if numbers is not None and len(numbers) != each * (rank - 2):
                return f"has {len(numbers)} {name} for {rank - 2} spatial dimensions"
    return None


_FLAGS = frozenset((
    "keepdims", "noop_with_empty_axes", "ceil_mode", "count_include_pad", "exclusive", "reverse", "select_last_index",
    "largest", "sorted", "allowzero", "upper", "layout", "linear_before_reset", "input_forget", "fmod", "transA",
    "transB", "antialias", "exclude_outside", "storage_order", "detect_positive", "detect_negative",
))  # fmt: skip
_SPATIAL = frozenset(
    ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "AveragePool", "MaxPool", "LpPool", "GlobalAveragePool",
     "GlobalMaxPool", "GlobalLpPool")
)  # fmt: skip
_WINDOWS = {
    "kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0, "output_padding": 0, "output_shape": 1, "group": 1,
    "blocksize": 1, "size": 1, "num_outputs": 1,
}  # fmt: skip


def _recurrent(node: Node) -> str | None:
    x, w, r = (node.input(i).shape for i in range(3))
    if x is None or w is None or r is None:
        return "has an input whose shape does not follow from the graph"
    if len(x) != 3 or len(w) != 3 or len(r) != 3 or 0 in (*x, *w, *r):
        return f"has inputs of shapes {list(x)}, {list(w)}, {list(r)}; it takes three dimensions each, none of them 0"
    hidden, gates = r[2], _GATES[node.op]
    directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
    wanted = ((directions, gates * hidden, x[2]), (directions, gates * hidden, hidden))
    if (w, r) != wanted or node.number("hidden_size", hidden) != hidden:
        return f"has weights {list(w)}, {list(r)} and hidden_size {node.number('hidden_size', hidden)}: they disagree"
    if node.number("layout", 0) not in (0, 1):
        return f"has layout {node.number('layout', 0)}; it is 0 or 1"
    batch, steps = (x[0], x[1]) if node.number("layout", 0) else (x[1], x[0])
    state = (batch, directions, hidden) if node.number("layout", 0) else (directions, batch, hidden)
    expected = {3: (directions, 2 * gates * hidden), 4: (batch,), 5: state, 6: state, 7: (directions, 3 * hidden)}
    for i, shape in expected.items():
        if node.has(i) and node.input(i).shape != shape:
            return f"has input {i} of shape {node.input(i).shape}, not {shape}"
    if node.has(4):
        lengths = node.input(4).integers()
        if lengths is None or not all(0 < n <= steps for n in lengths):
            return f"has lengths of sequences that are not known to be from 1 to {steps}"
    return None


def _division(node: Node) -> str | None:
    element = node.input(0).element
    if element not in INTEGERS and element is not None:
        return None
    divisor = _constant(node.input(1))
    if divisor is None:
        return "divides integers by what is known only when it runs, which may be 0"
    if divisor.dtype.kind in "iu" and ((divisor == 0).any() or (divisor == -1).any()):
        return "divides integers by 0 or by -1"
    return None


def _constant(value: Value) -> Array | None:
    """The numbers of a constant of any size."""
    if value.array is not None or value.raw is None or value.element is None:
        return value.array
    numbers: Array = np.frombuffer(value.raw, NUMPY_TYPES[value.element])
    return numbers if value.shape is None else numbers.reshape(value.shape)


def _indices(node: Node, low: int, high: int, numbers: Array) -> str | None:
    if numbers.size and not (low <= int(numbers.min()) and int(numbers.max()) < high):
        return f"has indices from {int(numbers.min())} to {int(numbers.max())} into {high}"
    return None


def _axis_indices(node: Node) -> str | None:
    x, numbers = node.input(0).shape, _constant(node.input(1))
    if x is None or numbers is None or numbers.dtype.kind not in "iu":
        return None
    axis = node.number("axis", 0)
    if not -len(x) <= axis < len(x):
        return f"has axis {axis} of {len(x)} dimensions"
    return _indices(node, -x[axis], x[axis], numbers)


def _gather_nd(node: Node) -> str | None:
    x, indices = node.input(0).shape, node.input(1).shape
    batch = node.number("batch_dims", 0)
    if x is None or indices is None:
        return "has an input whose shape does not follow from the graph"
    if not indices or not 0 <= batch < min(len(x), len(indices)) or not 1 <= indices[-1] <= len(x) - batch:
        return f"has batch_dims {batch} and indices of shape {list(indices)} into {list(x)}"
    numbers = _constant(node.input(1))
    if numbers is None or numbers.dtype.kind not in "iu":
        return None
    for i in range(indices[-1]):
        size = x[batch + i]
        if problem := _indices(node, -size, size, numbers[..., i]):
            return problem
    return None


def _cast(node: Node) -> str | None:
    to = node.number("to" if node.op == "Cast" else "dtype", 1)
    return None if to in NUMPY_TYPES else f"makes element type {to}, which is not one a bundle may use"


def _one_hot(node: Node) -> str | None:
    axis, rank = node.number("axis", -1), node.input(0).rank
    return None if rank is None or -rank - 1 <= axis <= rank else f"has axis {axis} of {rank + 1} dimensions"


def _resize(node: Node) -> str | None:
    scales = _constant(node.input(2)) if node.has(2) else None
    if scales is not None and not all(math.isfinite(s) and s > 0 for s in scales.ravel().tolist()):
        return "has scales that are not above 0"
    axes = node.numbers("axes") or list(range(len(scales.ravel()))) if scales is not None else []
    first = (0, -(node.input(0).rank or 0))
    if scales is not None and any(a in first and s != 1 for a, s in zip(axes, scales.ravel().tolist(), strict=False)):
        return "resizes its first axis, the rows of a batch"  # OpenVINO 2026.4 ends with signal 11
    return None


_CHECKS: dict[str, Callable[[Node], str | None]] = {
    "RNN": _recurrent, "GRU": _recurrent, "LSTM": _recurrent, "Div": _division, "Mod": _division,
    "Gather": _axis_indices, "GatherElements": _axis_indices, "ScatterElements": _axis_indices,
    "GatherND": _gather_nd, "ScatterND": _gather_nd, "Cast": _cast, "EyeLike": _cast, "OneHot": _one_hot,
    "Resize": _resize,
}  # fmt: skip
