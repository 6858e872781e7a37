"""Batch norms fold into the convolution before them, and only where that is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.passes.batch_norm import fold_batch_norms

RNG = np.random.default_rng(0)


def model(conv: str, groups: int, *, bias: bool, read_twice: bool = False) -> onnx.ModelProto:
    """X (n, 4, 9, 9) -> convolution to 6 channels -> batch norm."""
    shape = (6, 4 // groups, 3, 3) if conv == "Conv" else (4, 6 // groups, 3, 3)
    arrays = {"w": RNG.normal(size=shape), "gamma": RNG.normal(size=6), "beta": RNG.normal(size=6)}
    arrays |= {"mean": RNG.normal(size=6), "variance": RNG.uniform(0.1, 2, size=6)}
    if bias:
        arrays["b"] = RNG.normal(size=6)
    nodes = [
        helper.make_node(conv, ["x", "w", *(["b"] if bias else [])], ["c"], name="conv", group=groups),
        helper.make_node("BatchNormalization", ["c", *list(arrays)[1:5]], ["y"], name="norm", epsilon=0.1),
    ]
    outputs = ["y"]
    if read_twice:
        nodes.append(helper.make_node("Relu", ["c"], ["z"], name="relu"))
        outputs.append("z")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 9, 9])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def run(m: onnx.ModelProto, x: np.ndarray) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(m.SerializeToString(), options).run(None, {"x": x})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("conv", ["Conv", "ConvTranspose"])
def test_the_folded_convolution_computes_both(conv: str, groups: int, bias: bool) -> None:
    before = model(conv, groups, bias=bias)
    x = RNG.normal(size=(3, 4, 9, 9)).astype(np.float32)
    wanted = run(before, x)[0]
    after = fold_batch_norms(before)
    onnx.checker.check_model(after)
    assert [node.op_type for node in after.graph.node] == [conv]
    np.testing.assert_allclose(run(after, x)[0], wanted, rtol=2e-5, atol=2e-5)


def test_a_convolution_somebody_else_reads_keeps_its_norm() -> None:
    after = fold_batch_norms(model("Conv", 1, bias=True, read_twice=True))
    assert [node.op_type for node in after.graph.node] == ["Conv", "BatchNormalization", "Relu"]
