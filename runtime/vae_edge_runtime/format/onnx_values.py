"""What the scanner knows of the tensors of a graph before an engine runs it: shapes, types, and small constants."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .limits import MAX_KNOWN_ELEMENTS
from .onnx_wire import Message

Array = NDArray[Any]
Shape = tuple[int, ...]
T = TypeVar("T")

NUMPY_TYPES: dict[int, Any] = {
    1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64,
}  # fmt: skip
FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
INTEGERS = frozenset((2, 3, 6, 7))


class Value:
    """One tensor.

    Attributes:
        shape: for the number of rows that is looked at; None where arithmetic does not tell.
        element: its type in ONNX's numbering; None likewise.
        static: whether it follows from constants and shapes alone, and from no row.
        array: its numbers, where they are static, few, and known.
        raw: the bytes of a constant of any size.
    """

    __slots__ = ("array", "element", "raw", "shape", "static")

    def __init__(
        self,
        shape: Shape | None = None,
        element: int | None = None,
        *,
        static: bool = False,
        array: Array | None = None,
        raw: memoryview | None = None,
    ) -> None:
        self.shape, self.element, self.static, self.array, self.raw = shape, element, static, array, raw

    @property
    def rank(self) -> int | None:
        """Number of dimensions."""
        return None if self.shape is None else len(self.shape)

    def integers(self) -> list[int] | None:
        """The numbers as one flat list of int, where they are known integers."""
        if self.array is None or self.array.dtype.kind not in "iu":
            return None
        return [int(n) for n in self.array.ravel()]


def known(array: Array, element: int | None = None) -> Value:
    """A static value with its numbers."""
    if element is None:
        element = next((e for e, kind in NUMPY_TYPES.items() if array.dtype == kind), None)
    return Value(array.shape, element, static=True, array=array)


class Node:
    """One node, with what is known of its inputs; an input that is left out is None."""

    def __init__(
        self, op: str, inputs: Sequence[Value | None], outputs: int, attributes: Mapping[str, Message], opset: int
    ) -> None:
        self.op, self.inputs, self.outputs, self.opset = op, inputs, outputs, opset
        self._attributes = attributes

    def input(self, index: int) -> Value:
        """An input; where it is left out one of which nothing is known."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return Value() if value is None else value

    def has(self, index: int) -> bool:
        """Whether the input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def shape(self, index: int) -> Shape:
        """The shape of an input; ``Unknown`` is raised where it is not known."""
        return need(self.input(index).shape)

    @property
    def names(self) -> Iterable[str]:
        """The attributes that are there."""
        return self._attributes

    def number(self, name: str, default: int) -> int:
        """An integer attribute."""
        message = self._attributes.get(name)
        return default if message is None else message.integer(3, default)

    def numbers(self, name: str) -> list[int] | None:
        """An attribute of integers."""
        message = self._attributes.get(name)
        return None if message is None else list(message.integers(8))

    def text(self, name: str, default: str) -> str:
        """An attribute of text."""
        message = self._attributes.get(name)
        if message is None or not message.blobs(4):
            return default
        return bytes(message.blobs(4)[0]).decode("utf-8", "replace")

    def given(self, index: int, name: str) -> list[int] | None:
        """Integers that opset 18 takes as an input and older ones as an attribute; None where there are none.

        Raises:
            Unknown: the input is there, and its numbers are not known.
        """
        if self.has(index):
            return need(self.input(index).integers())
        return self.numbers(name)


class Unknown(Exception):
    """Arithmetic does not tell; nothing is wrong with the graph."""


class Mismatch(Exception):
    """Shapes that no engine can put together, for the number of rows that is looked at."""


def fit(condition: bool, problem: str) -> None:
    """Raise ``Mismatch`` unless the condition holds."""
    if not condition:
        raise Mismatch(problem)


def need(value: T | None) -> T:
    """``value``, unless it is None."""
    if value is None:
        raise Unknown
    return value


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise Mismatch(f"axis {axis} of {rank} dimensions")
    return axis % rank


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """As numpy's, without a limit on sizes."""
    if len(shapes) == 2 and shapes[0] == shapes[1]:  # most of the time
        return shapes[0]
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1:
                if result[i] not in (1, n):
                    raise Mismatch(f"shapes {[list(s) for s in shapes]} that do not fit each other")
                result[i] = n
    return tuple(result)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Pow": np.power,
    "Equal": np.equal, "Less": np.less, "Greater": np.greater, "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "MatMul": np.matmul, "Min": np.minimum, "Max": np.maximum, "Sum": operator.add,
}  # fmt: skip
_UNARY: dict[str, Callable[[Any], Any]] = {
    "Identity": np.asarray, "Neg": np.negative, "Abs": np.abs, "Sign": np.sign, "Not": np.logical_not,
    "Floor": np.floor, "Ceil": np.ceil, "Round": np.round, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log,
    "Reciprocal": np.reciprocal, "Relu": lambda x: np.maximum(x, 0), "Sin": np.sin, "Cos": np.cos, "Tan": np.tan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh, "IsNaN": np.isnan, "IsInf": np.isinf,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Softplus": lambda x: np.logaddexp(x, 0),
    "Erf": np.vectorize(math.erf, otypes=[float]),
}  # fmt: skip
_REDUCING: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum,
    "ReduceProd": np.prod,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceMean": lambda x, axis: _mean(x, axis),
}


def evaluate(node: Node, shape: Shape, element: int | None) -> Array | None:
    """The numbers of a node's first output, of the given shape, from known inputs; None where they stay unknown."""
    arrays = [need(value.array) for value in node.inputs if value is not None]
    op, first = node.op, arrays[0] if arrays else None
    if math.prod(shape) > MAX_KNOWN_ELEMENTS or first is None:
        return None
    result: Any = None
    with np.errstate(all="ignore"):
        if op in _BINARY:
            result = first
            for other in arrays[1:]:
                result = _BINARY[op](result, other)
        elif op in _UNARY:
            result = _UNARY[op](first)
        elif op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            result = first.reshape(shape)
        elif op in ("Cast", "CastLike"):
            result = first.astype(NUMPY_TYPES[need(element)])
        elif op == "Expand":
            result = np.broadcast_to(first, shape)
        elif op == "Tile":
            result = np.tile(first, need(node.input(1).integers()))
        elif op == "Concat":
            result = np.concatenate(arrays, axis=axis_of(node.number("axis", 0), first.ndim))
        elif op == "Gather":
            result = np.take(first, arrays[1], axis=node.number("axis", 0))
        elif op == "Slice":
            result = first[_slices(node, first.ndim)]
        elif op == "Transpose":
            result = np.transpose(first, node.numbers("perm"))
        elif op == "Where":
            result = np.where(*arrays)
        elif op == "Range":
            result = np.arange(*(a.item() for a in arrays))
        elif op in ("Div", "Mod"):
            result = _quotient(op, first, arrays[1], truncated=node.number("fmod", 0) == 1)
        elif op in _REDUCING:
            axes = node.given(1, "axes")
            result = _REDUCING[op](first, axis=tuple(axes) if axes else None)
        return None if result is None else np.asarray(result, NUMPY_TYPES[need(element)]).reshape(shape)


def _mean(x: Array, axis: tuple[int, ...] | None) -> Any:
    """As ``np.mean``, which warns of an empty slice whatever ``errstate`` says."""
    total = np.asarray(np.sum(x, axis=axis))
    return total / np.float64(x.size // max(total.size, 1))


def _quotient(op: str, a: Array, b: Array, *, truncated: bool) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b if op == "Div" else np.fmod(a, b) if truncated else np.mod(a, b))
    if not b.all():
        raise Unknown
    if op == "Mod":
        return np.asarray(np.fmod(a, b) if truncated else np.mod(a, b))
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))  # towards zero


def _slices(node: Node, rank: int) -> tuple[slice, ...]:
    starts, ends = need(node.input(1).integers()), need(node.input(2).integers())
    axes = need(node.input(3).integers()) if node.has(3) else list(range(len(starts)))
    steps = need(node.input(4).integers()) if node.has(4) else [1] * len(starts)
    slices = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        slices[axis_of(axis, rank)] = slice(start, end, step)
    return tuple(slices)


def sliced(node: Node) -> Shape:
    """The shape that Slice makes."""
    shape = node.shape(0)
    cuts = _slices(node, len(shape))
    return tuple(len(range(*cut.indices(n))) for cut, n in zip(cuts, shape, strict=True))
