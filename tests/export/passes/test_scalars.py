"""Scalars beside tensors of one channel get two axes, others stay, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.passes.scalars import widen_scalars

RNG = np.random.default_rng(0)


def model(kind: str, shape: tuple[int | str, ...], scalar: np.ndarray, *, first: bool = False) -> onnx.ModelProto:
    names = ["c", "x"] if first else ["x", "c"]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(scalar, "c")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"])
@pytest.mark.parametrize("shape", [("n", 20, 1), ("n", 6, 5, 1), ("n", 1, 6, 5)])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("axes", [0, 1])
def test_it_gets_two_axes_and_the_result_is_the_same(
    kind: str, shape: tuple[int | str, ...], first: bool, axes: int
) -> None:
    m = model(kind, shape, np.full((1,) * axes, 1.7, np.float32), first=first)
    x = RNG.uniform(0.5, 2, size=(3, *shape[1:])).astype(np.float32)
    wanted = onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
    widened = widen_scalars(m)
    onnx.checker.check_model(widened, full_check=True)
    (tensor,) = widened.graph.initializer
    assert list(tensor.dims) == [1, 1]
    found = onnxruntime.InferenceSession(widened.SerializeToString()).run(None, {"x": x})[0]
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("shape", "scalar"),
    [(("n", 1), ()), (("n", 20, 3), ()), (("n", "t", "c"), ()), (("n", 20, 1), (20, 1)), (("n", 20, 1), (1, 1, 1))],
)
def test_everything_else_stays(shape: tuple[int | str, ...], scalar: tuple[int, ...]) -> None:
    m = model("Mul", shape, np.ones(scalar, np.float32))
    assert widen_scalars(model("Mul", shape, np.ones(scalar, np.float32))) == m
