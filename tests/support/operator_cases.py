"""One case for every operator a graph may use: a node, its inputs, and what numpy says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Weight:
    """An operand that is a constant of the graph; any other array is an input of it."""

    value: Array


@dataclass(frozen=True)
class Case:
    """One node. ``gives`` is empty where onnx's own reference says what is right."""

    operands: tuple[Array | Weight | None, ...]  # None: an optional operand left out
    gives: tuple[Array, ...]
    attributes: dict[str, Any]
    batch_axis: int = 0


def case(
    *operands: Array | Weight | None, gives: Array | tuple[Array, ...] = (), batch_axis: int = 0, **attributes: Any
) -> Case:
    return Case(operands, gives if isinstance(gives, tuple) else (gives,), attributes, batch_axis)


def wave(*shape: int, start: float = 0.3) -> Array:
    """Fixed numbers between -1 and 1, no two alike."""
    return np.sin(np.arange(math.prod(shape)) * 1.7 + start).reshape(shape).astype(np.float32)


def floats(*values: Any) -> Array:
    return np.array(values, np.float32)


def ints(*values: Any) -> Weight:
    return Weight(np.array(values, np.int64))


def integer(value: int) -> Weight:
    return Weight(np.array(value, np.int64))


def number(value: float) -> Weight:
    return Weight(np.array(value, np.float32))


def byte(value: int) -> Weight:
    return Weight(np.array(value, np.uint8))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def windows(x: Array, size: int = 2) -> Array:
    """Square windows of (N, C, H, W), as (N, C, rows, columns, size, size)."""
    return sliding_window_view(x, (size, size), axis=(2, 3))


def convolve(x: Array, w: Array) -> Array:
    return np.einsum("nchwij,ocij->nohw", windows(x), w)


def quantize(x: Array, scale: float, zero: int) -> Array:
    return (np.rint(x / np.float32(scale)) + zero).clip(0, 255).astype(np.uint8)


X = wave(2, 3) * 3
Y = wave(2, 3, start=2.0) * 3
UNIT = wave(2, 3)
POSITIVE = np.abs(X) + 0.1
ODD = floats([0.0, np.nan, np.inf], [-np.inf, -0.0, 1.0])
TRUE, ALSO_TRUE = X > 0, Y > 0
STEPS, MORE_STEPS = np.sign(X), np.sign(Y)  # some pairs are equal
ROWS = wave(2, 3, 4)
IMAGE = wave(2, 3, 4, 4)
KERNEL = wave(2, 3, 2, 2, start=1.0)
PAIR = floats(1, -2)
PER_CHANNEL = floats(0.5, -1.5, 2.0)
VARIANCES = floats(0.5, 1.5, 2.0)
SEQUENCE = wave(4, 2, 3)  # time, batch, feature
COLUMNS = np.array([[2, 0], [1, 1]], np.int64)
BYTES = np.arange(3, 9, dtype=np.uint8).reshape(2, 3) * 7
BYTE_MATRIX = np.arange(12, dtype=np.uint8).reshape(3, 4) * 11
BYTE_IMAGE = (np.arange(96) * 37 % 251).astype(np.uint8).reshape(IMAGE.shape)
BYTE_KERNEL = (np.arange(24) * 23 % 241).astype(np.uint8).reshape(KERNEL.shape)
CENTRED_IMAGE, CENTRED_KERNEL = BYTE_IMAGE.astype(np.int32) - 120, BYTE_KERNEL.astype(np.int32) - 110
CENTRED_BYTES, CENTRED_MATRIX = BYTES.astype(np.int32) - 30, BYTE_MATRIX.astype(np.int32) - 50
CONVOLVED = convolve(CENTRED_IMAGE, CENTRED_KERNEL)
MULTIPLIED = CENTRED_BYTES @ CENTRED_MATRIX


def recurrent(gates: int, biases: int, **attributes: Any) -> Case:
    """One layer of two units, batch second, as in every RNN of ONNX."""
    weights = wave(1, gates * 2, 3), wave(1, gates * 2, 2, start=1.0), wave(1, biases * 2, start=2.0)
    return case(SEQUENCE, *map(Weight, weights), batch_axis=1, hidden_size=2, **attributes)


_UNARY: dict[str, tuple[Array, Array]] = {
    "Abs": (X, np.abs(X)),
    "Neg": (X, -X),
    "Sqrt": (POSITIVE, np.sqrt(POSITIVE)),
    "Reciprocal": (X, 1 / X),
    "Exp": (X, np.exp(X)),
    "Log": (POSITIVE, np.log(POSITIVE)),
    "Erf": (X, np.vectorize(math.erf, otypes=[np.float32])(X)),
    "Sign": (floats([-2, 0, 3], [0.5, -0.5, -0.0]), floats([-1, 0, 1], [1, -1, 0])),
    "Floor": (X, np.floor(X)),
    "Ceil": (X, np.ceil(X)),
    "Round": (floats([-1.5, -0.5, 0.4], [0.5, 1.5, 2.5]), floats([-2, 0, 0], [0, 2, 2])),
    "Sin": (X, np.sin(X)),
    "Cos": (X, np.cos(X)),
    "Tan": (X, np.tan(X)),
    "Asin": (UNIT, np.arcsin(UNIT)),
    "Acos": (UNIT, np.arccos(UNIT)),
    "Atan": (X, np.arctan(X)),
    "Sinh": (X, np.sinh(X)),
    "Cosh": (X, np.cosh(X)),
    "Asinh": (X, np.arcsinh(X)),
    "Acosh": (1 + POSITIVE, np.arccosh(1 + POSITIVE)),
    "Atanh": (UNIT, np.arctanh(UNIT)),
    "Relu": (X, np.maximum(X, 0)),
    "Sigmoid": (X, sigmoid(X)),
    "HardSwish": (X * 2, X * 2 * np.clip(X * 2 / 6 + 0.5, 0, 1)),
    "Tanh": (X, np.tanh(X)),
    "Softplus": (X, np.log1p(np.exp(X))),
    "Softsign": (X, X / (1 + np.abs(X))),
    "Mish": (X, X * np.tanh(np.log1p(np.exp(X)))),
    "Identity": (X, X),
    "Shape": (ROWS, np.array(ROWS.shape)),
    "Size": (ROWS, np.array(ROWS.size)),
    "Not": (TRUE, ~TRUE),
    "IsNaN": (ODD, np.isnan(ODD)),
    "IsInf": (ODD, np.isinf(ODD)),
    "GlobalAveragePool": (IMAGE, IMAGE.mean((2, 3), keepdims=True)),
    "GlobalMaxPool": (IMAGE, IMAGE.max((2, 3), keepdims=True)),
}

_BINARY: dict[str, tuple[Array, Array, Array]] = {
    "Add": (X, Y, X + Y),
    "Sub": (X, Y, X - Y),
    "Mul": (X, Y, X * Y),
    "Div": (X, Y, X / Y),
    "Pow": (POSITIVE, Y, POSITIVE**Y),
    "Sum": (X, Y, X + Y),
    "Mean": (X, Y, (X + Y) / 2),
    "Min": (X, Y, np.minimum(X, Y)),
    "Max": (X, Y, np.maximum(X, Y)),
    "Equal": (STEPS, MORE_STEPS, STEPS == MORE_STEPS),
    "Less": (STEPS, MORE_STEPS, STEPS < MORE_STEPS),
    "Greater": (STEPS, MORE_STEPS, STEPS > MORE_STEPS),
    "LessOrEqual": (STEPS, MORE_STEPS, STEPS <= MORE_STEPS),
    "GreaterOrEqual": (STEPS, MORE_STEPS, STEPS >= MORE_STEPS),
    "And": (TRUE, ALSO_TRUE, TRUE & ALSO_TRUE),
    "Or": (TRUE, ALSO_TRUE, TRUE | ALSO_TRUE),
    "Xor": (TRUE, ALSO_TRUE, TRUE ^ ALSO_TRUE),
}

_REDUCTIONS: dict[str, Array] = {
    "ReduceSum": X.sum(1),
    "ReduceMean": X.mean(1),
    "ReduceMax": X.max(1),
    "ReduceMin": X.min(1),
    "ReduceProd": X.prod(1),
    "ReduceL1": np.abs(X).sum(1),
    "ReduceL2": np.sqrt((X**2).sum(1)),
    "ReduceLogSum": np.log(POSITIVE.sum(1)),
    "ReduceLogSumExp": np.log(np.exp(X).sum(1)),
    "ReduceSumSquare": (X**2).sum(1),
}

_OTHERS: dict[str, Case] = {
    # Arithmetic and activations with parameters.
    "Mod": case(X, Y, gives=np.fmod(X, Y), fmod=1),
    "Clip": case(X, number(-1), number(0.5), gives=X.clip(-1, 0.5)),
    "CumSum": case(X, integer(1), gives=X.cumsum(1)),
    "Where": case(TRUE, X, Y, gives=np.where(TRUE, X, Y)),
    "LeakyRelu": case(X, gives=np.where(X < 0, 0.2 * X, X), alpha=0.2),
    "PRelu": case(X, Weight(PER_CHANNEL), gives=np.where(X < 0, PER_CHANNEL * X, X)),
    "Elu": case(X, gives=np.where(X < 0, 1.5 * np.expm1(X), X), alpha=1.5),
    "Celu": case(X, gives=np.where(X < 0, 1.5 * np.expm1(X / 1.5), X), alpha=1.5),
    "Selu": case(X, gives=1.5 * np.where(X < 0, 2 * np.expm1(X), X), alpha=2.0, gamma=1.5),
    "ThresholdedRelu": case(X, gives=np.where(X > 0.7, X, 0), alpha=0.7),
    "HardSigmoid": case(X, gives=np.clip(0.3 * X + 0.4, 0, 1), alpha=0.3, beta=0.4),
    "Softmax": case(X, gives=softmax(X), axis=1),
    "LogSoftmax": case(X, gives=np.log(softmax(X)), axis=1),
    "Hardmax": case(X, gives=np.eye(3, dtype=np.float32)[X.argmax(1)], axis=1),
    # Products.
    "Gemm": case(
        X, Weight(Y), Weight(PAIR), alpha=0.5, beta=3.0, transB=1, gives=0.5 * X @ Y.T + 3 * PAIR),
    "MatMul": case(X, Weight(ROWS[0]), gives=X @ ROWS[0]),
    "Einsum": case(ROWS, X, gives=np.einsum("bij,bi->bj", ROWS, X), equation="bij,bi->bj"),
    "Conv": case(IMAGE, Weight(KERNEL), Weight(PAIR), gives=convolve(IMAGE, KERNEL) + PAIR[:, None, None]),
    "ConvTranspose": case(
        IMAGE[:, :2], Weight(KERNEL), strides=[2, 2],
        gives=np.einsum("nchw,coij->nohiwj", IMAGE[:, :2], KERNEL).reshape(2, 3, 8, 8)),
    "RNN": recurrent(1, 2),
    "GRU": recurrent(3, 6, linear_before_reset=1),
    "LSTM": recurrent(4, 8),
    # Normalisation.
    "BatchNormalization": case(
        ROWS, *map(Weight, (PER_CHANNEL, VARIANCES, UNIT[0], VARIANCES)), epsilon=1e-3,
        gives=((ROWS.swapaxes(1, 2) - UNIT[0]) / np.sqrt(VARIANCES + 1e-3) * PER_CHANNEL + VARIANCES).swapaxes(1, 2)),
    "InstanceNormalization": case(
        ROWS, Weight(PER_CHANNEL), Weight(VARIANCES), epsilon=1e-3,
        gives=(ROWS - ROWS.mean(2, keepdims=True)) / np.sqrt(ROWS.var(2, keepdims=True) + 1e-3)
        * PER_CHANNEL[:, None] + VARIANCES[:, None]),
    "LayerNormalization": case(
        X, Weight(PER_CHANNEL), Weight(VARIANCES), axis=1, epsilon=1e-3,
        gives=(X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-3) * PER_CHANNEL + VARIANCES),
    "LpNormalization": case(X, gives=X / np.sqrt((X**2).sum(1, keepdims=True)), axis=1, p=2),
    "LRN": case(  # not by onnx's reference, which in 1.23 counts rows where channels are meant
        IMAGE, size=3, alpha=0.3, beta=0.6, bias=1.5,
        gives=IMAGE / (1.5 + 0.3 / 3 * sliding_window_view(
            np.pad(IMAGE**2, [(0, 0), (1, 1), (0, 0), (0, 0)]), 3, axis=1).sum(-1)) ** 0.6),
    # Pools.
    "AveragePool": case(IMAGE, gives=windows(IMAGE).mean((4, 5)), kernel_shape=[2, 2]),
    "MaxPool": case(IMAGE, gives=windows(IMAGE).max((4, 5)), kernel_shape=[2, 2]),
    "LpPool": case(IMAGE, gives=np.sqrt((windows(IMAGE) ** 2).sum((4, 5))), kernel_shape=[2, 2], p=2),
    "GlobalLpPool": case(IMAGE, gives=np.sqrt((IMAGE**2).sum((2, 3), keepdims=True)), p=2),
    # Choosing.
    "ArgMax": case(X, gives=X.argmax(1), axis=1, keepdims=0),
    "ArgMin": case(X, gives=X.argmin(1), axis=1, keepdims=0),
    "TopK": case(X, ints(2), gives=(-np.sort(-X)[:, :2], np.argsort(-X)[:, :2]), axis=1),
    # Types and constants.
    "Cast": case(X, gives=X.astype(np.int64), to=TensorProto.INT64),
    "CastLike": case(X, Weight(np.array(0, np.float16)), gives=X.astype(np.float16)),
    "Constant": case(gives=X, value=X),
    "ConstantOfShape": case(ints(2, 3), gives=np.full((2, 3), 7, np.float32), value=floats(7)),
    "EyeLike": case(X, gives=np.eye(2, 3, 1, dtype=np.float32), k=1),
    "Range": case(number(1), number(4), number(0.5), gives=np.arange(1, 4, 0.5, dtype=np.float32)),
    "OneHot": case(COLUMNS, integer(3), Weight(floats(-1, 1)), gives=2 * np.eye(3, dtype=np.float32)[COLUMNS] - 1),
    "Trilu": case(ROWS, gives=np.tril(ROWS), upper=0),
    # Moving things about.
    "Reshape": case(ROWS, ints(0, 2, -1), gives=ROWS.reshape(2, 2, 6)),
    "Flatten": case(ROWS, gives=ROWS.reshape(2, 12)),
    "Transpose": case(ROWS, gives=ROWS.transpose(0, 2, 1), perm=[0, 2, 1]),
    "Squeeze": case(X[:, None], ints(1), gives=X),
    "Unsqueeze": case(X, ints(1), gives=X[:, None]),
    "Concat": case(X, ROWS[:, 0], gives=np.hstack([X, ROWS[:, 0]]), axis=1),
    "Split": case(X, ints(1, 2), gives=(X[:, :1], X[:, 1:]), axis=1),
    "Slice": case(ROWS, ints(1, 0), ints(3, 4), ints(1, 2), ints(1, 2), gives=ROWS[:, 1:3, 0:4:2]),
    "Gather": case(X, ints(2, 0), gives=X[:, [2, 0]], axis=1),
    "GatherElements": case(X, COLUMNS, gives=np.take_along_axis(X, COLUMNS, 1), axis=1),
    "GatherND": case(ROWS, COLUMNS[:, :1], gives=ROWS[[0, 1], COLUMNS[:, 0]], batch_dims=1),
    "ScatterElements": case(
        X, np.array([[2], [0]], np.int64), Y[:, :1], axis=1, gives=floats([*X[0, :2], Y[0, 0]], [Y[1, 0], *X[1, 1:]])),
    "ScatterND": case(
        X, np.array([[1, 2], [0, 1]], np.int64), PAIR, gives=floats([X[0, 0], PAIR[1], X[0, 2]], [*X[1, :2], PAIR[0]])),
    "Expand": case(X[:, :1], ints(1, 3), gives=X[:, [0, 0, 0]]),
    "Tile": case(X, ints(1, 2), gives=np.tile(X, (1, 2))),
    "Pad": case(X, ints(0, 1, 0, 2), number(9), gives=np.pad(X, [(0, 0), (1, 2)], constant_values=9)),
    "Resize": case(IMAGE, None, Weight(floats(1, 1, 2, 1.5)), mode="linear"),
    "DepthToSpace": case(
        wave(2, 8, 2, 3), blocksize=2,
        gives=wave(2, 8, 2, 3).reshape(2, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2).reshape(2, 2, 4, 6)),
    "SpaceToDepth": case(
        IMAGE, blocksize=2, gives=IMAGE.reshape(2, 3, 2, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(2, 12, 2, 2)),
    "Col2Im": case(wave(2, 12, 9), ints(4, 4), ints(2, 2)),
    # Whole numbers.
    "QuantizeLinear": case(X, number(0.03), byte(100), gives=quantize(X, 0.03, 100)),
    "DequantizeLinear": case(BYTES, number(0.03), byte(100), gives=(BYTES.astype(np.float32) - 100) * np.float32(0.03)),
    "QLinearConv": case(
        BYTE_IMAGE, number(0.03), byte(120), Weight(BYTE_KERNEL), number(0.07), byte(110), number(0.7), byte(90),
        gives=quantize(CONVOLVED * np.float32(0.03 * 0.07), 0.7, 90)),
    "QLinearMatMul": case(
        BYTES, number(0.03), byte(30), Weight(BYTE_MATRIX), number(0.07), byte(50), number(0.11), byte(90),
        gives=quantize(MULTIPLIED * np.float32(0.03 * 0.07), 0.11, 90)),
    "ConvInteger": case(BYTE_IMAGE, Weight(BYTE_KERNEL), byte(120), byte(110), gives=CONVOLVED),
    "MatMulInteger": case(BYTES, Weight(BYTE_MATRIX), byte(30), byte(50), gives=MULTIPLIED),
}  # fmt: skip

CASES: dict[str, Case] = {
    **{op: case(x, gives=result) for op, (x, result) in _UNARY.items()},
    **{op: case(x, y, gives=result) for op, (x, y, result) in _BINARY.items()},
    **{
        op: case(POSITIVE if op == "ReduceLogSum" else X, ints(1), gives=result, keepdims=0)
        for op, result in _REDUCTIONS.items()
    },
    **_OTHERS,
}
