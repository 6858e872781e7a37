"""Resizes to sizes that are whole multiples are given factors, others stay, and the numbers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from vae_edge_export.passes import clean_up
from vae_edge_export.passes.resizes import resize_by_factors
from vae_edge_export.passes.upsampling import merge_upsampling

RNG = np.random.default_rng(0)
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
LINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
CORNERS = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}


def resized(
    sizes: list[int], *, known: bool = True, end: int | None = 2, of: str = "x", **said: Any
) -> onnx.ModelProto:
    """Two inputs of (n, 3, 4, 5), x resized; batch and channels from ``of``."""
    shape = ["n", 3, 4, 5] if known else ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Shape", [of], ["own"], start=0, end=end),
            helper.make_node("Concat", ["own", "spatial"], ["sizes"], axis=0),
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **(said or NEAREST)),
        ],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "other")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.array(sizes), "spatial")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found: np.ndarray = session.run(None, dict.fromkeys(("x", "other"), x))[0]
    return found


@pytest.mark.parametrize("sizes", [[8, 10], [4, 15], [4, 5]])
@pytest.mark.parametrize("said", [NEAREST, LINEAR, CORNERS])
def test_factors_give_the_same_numbers(sizes: list[int], said: dict[str, Any]) -> None:
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    wanted = run(resized(sizes, **said), x)
    model = resize_by_factors(resized(sizes, **said))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Resize"]
    (factors,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(factors), [1, 1, sizes[0] / 4, sizes[1] / 5])
    np.testing.assert_array_equal(run(model, x), wanted)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ([9, 10], {}),
        ([2, 5], {}),
        ([8, 10], {"known": False}),
        ([8, 10], {"of": "other"}),
        ([3, 8, 10], {"end": 1}),
    ],
    ids=["no whole factor", "smaller", "sizes not known", "batch of another tensor", "channels given as a number"],
)
def test_everything_else_stays(sizes: list[int], options: dict[str, Any]) -> None:
    assert resize_by_factors(resized(sizes, **options)) == resized(sizes, **options)


class ToSizes(nn.Module):
    """Upsamples as users write it: to a size, and to twice the size of what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1)
        self.third, self.up = nn.Conv2d(4, 3, 3, 1, 1), nn.Upsample(size=(8, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.second(self.up(self.first(x)))
        h = functional.interpolate(h, size=[2 * size for size in h.shape[2:]])
        out: torch.Tensor = self.third(h)
        return out


@pytest.mark.filterwarnings("ignore")  # of the exporter about itself
def test_as_pytorch_exports_it_it_is_merged() -> None:
    torch.manual_seed(0)
    module = ToSizes().eval()
    x = torch.randn(2, 8, 4, 5)
    program = torch.onnx.export(
        module, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["x"],
        opset_version=18, verbose=False,
    )  # fmt: skip
    assert program is not None
    assert {len(node.input) for node in program.model_proto.graph.node if node.op_type == "Resize"} == {4}
    merged = merge_upsampling(clean_up(program.model_proto, graph="decode"))
    assert [node.op_type for node in merged.graph.node] == ["Conv", "ConvTranspose", "ConvTranspose"]
    session = onnxruntime.InferenceSession(merged.SerializeToString())
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], module(x).numpy(), rtol=1e-5, atol=1e-6)
