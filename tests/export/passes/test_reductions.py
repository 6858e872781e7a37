"""Sums over many values: the same numbers with fewer rounding errors, and short sums as they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.passes.reductions import reduce_in_two_steps

IN_FLOAT64 = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdims=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdims=keep),
    "ReduceL1": lambda x, axes, keep: np.abs(x).sum(axes, keepdims=keep),
    "ReduceL2": lambda x, axes, keep: np.sqrt((x * x).sum(axes, keepdims=keep)),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdims=keep),
}
Shape = list["int | str"]


def reduced(op_type: str, shape: Shape, axes: Sequence[int] | None, *, keepdims: int | None = 1) -> onnx.ModelProto:
    named = {} if keepdims is None else {"keepdims": keepdims}
    inputs = ["x"] if axes is None else ["x", "axes"]
    rank = len(shape) if keepdims is None or keepdims else len(shape) - len(axes or shape)
    graph = helper.make_graph(
        [helper.make_node(op_type, inputs, ["y"], name="sum", **named)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [] if axes is None else [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y


def relative(y: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(y / wanted - 1).max())


def positive(*shape: int) -> np.ndarray:
    """Squares, as a score sums them: no two of them cancel."""
    x: np.ndarray = np.random.default_rng(0).normal(size=shape).astype(np.float32) ** 2
    return x


@pytest.mark.parametrize("op_type", IN_FLOAT64)
@pytest.mark.parametrize(
    ("shape", "axes", "keepdims"),
    [
        (["n", 3, 512, 512], (1, 2, 3), 0),
        (["n", 3, 512, 512], (-1, -2), 1),
        (["n", 3, "h", "w"], (2, 3), 1),
        (["n", 3, "h", "w"], (1, 2, 3), 0),
        (["n", 512, 512, 3], (1, 2, 3), 0),
        (["n", 512, 512, 3], (1, 2), 1),
        (["n", 3, 262_144], (2,), 0),
        (["n", 262_144, 3], (1,), 1),
    ],
)
def test_a_long_sum_is_the_same_number(op_type: str, shape: Shape, axes: tuple[int, ...], keepdims: int) -> None:
    model = reduced(op_type, shape, axes, keepdims=keepdims)
    x = positive(2, *(512 if isinstance(n, str) else n for n in shape[1:]))
    changed = reduce_in_two_steps(model)
    onnx.checker.check_model(changed, full_check=True)
    assert sum(node.op_type.startswith("Reduce") for node in changed.graph.node) == 2
    wanted = IN_FLOAT64[op_type](x.astype(np.float64), axes, bool(keepdims))
    y = run(changed, x)
    assert y.shape == wanted.shape
    assert relative(y, wanted) < 1e-6


def test_a_sum_over_786432_squares_loses_what_it_lost_before_and_no_more() -> None:
    x = positive(1, 3, 512, 512)
    wanted = IN_FLOAT64["ReduceSumSquare"](x.astype(np.float64), (1, 2, 3), False)
    model = reduced("ReduceSumSquare", ["n", 3, 512, 512], (1, 2, 3), keepdims=0)
    assert relative(run(model, x), wanted) > 1e-4
    assert relative(run(reduce_in_two_steps(model), x), wanted) < 1e-6


@pytest.mark.parametrize("shape", [["n", 3, 512, 512], ["n", 3, "h", "w"]], ids=["of one size", "of free size"])
def test_an_average_of_a_whole_picture_is_two_means(shape: Shape) -> None:
    model = reduced("GlobalAveragePool", shape, None, keepdims=None)
    x = positive(2, 3, 512, 512)
    changed = reduce_in_two_steps(model)
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["ReduceMean", "ReduceMean"]
    wanted = x.astype(np.float64).mean((2, 3), keepdims=True)
    assert relative(run(changed, x), wanted) < 1e-6


@pytest.mark.parametrize(
    ("op_type", "shape", "axes"),
    [
        ("ReduceMean", ["n", 4, 128, 128], (1, 2, 3)),
        ("ReduceSum", ["n", 16, 65_536], (2,)),
        ("ReduceSum", ["n", "h", "w", 3], (3,)),
        ("ReduceSum", ["n", 3, 512, 512], (0, 1, 2, 3)),
        ("ReduceSum", ["n", 3, 512, 512], None),
        ("ReduceMax", ["n", 3, 512, 512], (1, 2, 3)),
        ("ReduceSum", ["n", 1_048_583], (1,)),
        ("ReduceSum", ["n", 3, "l"], (2,)),
        ("GlobalAveragePool", ["n", 3, 256, 256], None),
    ],
    ids=[
        "65,536 values", "65,536 values of a row", "channels beside free sizes", "over the batch", "over everything",
        "a maximum", "a prime number of values", "a series of free length", "a small picture",
    ],
)  # fmt: skip
def test_everything_else_stays(op_type: str, shape: Shape, axes: tuple[int, ...] | None) -> None:
    def model() -> onnx.ModelProto:
        return reduced(op_type, shape, axes, keepdims=None if op_type == "GlobalAveragePool" else 1)

    assert reduce_in_two_steps(model()) == model()
