"""Nearest upsampling and convolution as one transposed convolution: the same numbers, from less work."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vae_edge_export.passes import clean_up
from vae_edge_export.passes.upsampling import merge_upsampling

RNG = np.random.default_rng(0)
SPATIAL = {1: [6], 2: [4, 5], 3: [3, 2, 4]}


def constant(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def upsampled(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    *,
    axes: int = 2,
    factors: Sequence[float] = (2, 2),
    outputs: Sequence[str] = ("y",),
    **resize: Any,
) -> onnx.ModelProto:
    """x, (n, 8, ...) enlarged to ``big``, and nodes behind it."""
    said = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} | resize
    scales = numpy_helper.from_array(np.array([1, 1, *factors], np.float32), "scales")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["big"], name="up", **said), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, *SPATIAL[axes]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (axes + 2)) for name in outputs],
        [scales, *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found: list[np.ndarray] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    return found


def same_numbers(model: onnx.ModelProto, merged: onnx.ModelProto, axes: int = 2) -> None:
    onnx.checker.check_model(merged, full_check=True)
    x = RNG.normal(size=(3, 8, *SPATIAL[axes])).astype(np.float32)
    for wanted, found in zip(run(model, x), run(merged, x), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


CASES = [
    (factors, kernel, pads)
    for factors, kernel, pads in itertools.product(
        [(2, 2), (3, 2), (1, 4)], [(3, 3), (5, 1), (2, 4)], [(0, 0, 0, 0), (1, 0, 1, 0), (0, 0, 1, 0)]
    )
    if all(pad < size for pad, size in zip(pads, kernel * 2, strict=True))
    and any(k > 1 and factor > 1 for k, factor in zip(kernel, factors, strict=True))
]


@pytest.mark.parametrize(("factors", "kernel", "pads"), CASES)
def test_the_merged_form_is_exact(factors: tuple[int, int], kernel: tuple[int, int], pads: tuple[int, ...]) -> None:
    conv = helper.make_node("Conv", ["big", "w", "b"], ["y"], name="c", pads=pads)
    model = upsampled([conv], [constant("w", 6, 8, *kernel), constant("b", 6)], factors=factors)
    merged = merge_upsampling(model)
    assert kinds(merged) == ["ConvTranspose"]
    same_numbers(model, merged)


@pytest.mark.parametrize("axes", [1, 3])
def test_sequences_and_volumes_too(axes: int) -> None:
    conv = helper.make_node("Conv", ["big", "w"], ["y"], name="c", pads=[1] * (2 * axes))
    model = upsampled([conv], [constant("w", 6, 8, *[3] * axes)], axes=axes, factors=[2] * axes)
    merged = merge_upsampling(model)
    assert kinds(merged) == ["ConvTranspose"]
    same_numbers(model, merged, axes)


def test_three_by_three_behind_twice_the_size_takes_16_products_of_36() -> None:
    conv = helper.make_node("Conv", ["big", "w"], ["y"], name="c", pads=[1, 1, 1, 1])
    merged = merge_upsampling(upsampled([conv], [constant("w", 6, 8, 3, 3)]))
    (weight,) = merged.graph.initializer
    assert list(weight.dims) == [8, 6, 4, 4]  # per pixel of the small image, which has a quarter of the pixels


NORM = [
    helper.make_node("Reshape", ["big", "groups"], ["flat"]),
    helper.make_node("InstanceNormalization", ["flat", "one", "zero"], ["even"], epsilon=1e-5),
    helper.make_node("Shape", ["big"], ["size"]),
    helper.make_node("Reshape", ["even", "size"], ["normed"]),
    helper.make_node("Mul", ["normed", "gamma"], ["scaled"]),
    helper.make_node("Add", ["scaled", "beta"], ["shifted"]),
    helper.make_node("Sigmoid", ["shifted"], ["gate"]),
    helper.make_node("Mul", ["shifted", "gate"], ["silu"]),
]
NORM_CONSTANTS = [
    numpy_helper.from_array(np.array([0, 4, -1]), "groups"),
    numpy_helper.from_array(np.ones(4, np.float32), "one"),
    numpy_helper.from_array(np.zeros(4, np.float32), "zero"),
    constant("gamma", 8, 1, 1),
    constant("beta", 8, 1, 1),
]


def test_group_norm_and_activation_move_to_the_small_image() -> None:
    convs = [
        helper.make_node("Conv", ["silu", "w"], ["y"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["big", "v"], ["z"], name="d"),
    ]
    weights = [constant("w", 6, 8, 3, 3), constant("v", 6, 8, 1, 1)]
    model = upsampled([*NORM, *convs], [*NORM_CONSTANTS, *weights], outputs=("y", "z"))
    merged = merge_upsampling(model)
    assert kinds(merged) == [*[node.op_type for node in NORM], "ConvTranspose", "ConvTranspose"]
    same_numbers(model, merged)


CONV = helper.make_node("Conv", ["big", "w"], ["y"], name="c", pads=[1, 1, 1, 1])
PLACES = numpy_helper.from_array(RNG.normal(size=(8, 10)).astype(np.float32), "places")
KEPT = {
    "given out": ([CONV], {"outputs": ("y", "big")}),
    "read by something else": ([CONV, helper.make_node("ReduceMean", ["big"], ["m"])], {"outputs": ("y", "m")}),
    "added to a large image": ([helper.make_node("Add", ["big", "places"], ["there"]),
                                helper.make_node("Conv", ["there", "w"], ["y"], name="c")], {}),
    "a pooling between": ([helper.make_node("MaxPool", ["big"], ["p"], kernel_shape=[2, 2]),
                           helper.make_node("Conv", ["p", "w"], ["y"], name="c")], {}),
    "linear": ([CONV], {"mode": "linear"}),
    "rounded": ([CONV], {"nearest_mode": "round_prefer_floor"}),
    "half pixels": ([CONV], {"coordinate_transformation_mode": "half_pixel"}),
    "no whole factor": ([CONV], {"factors": (1.5, 2)}),
    "strided": ([helper.make_node("Conv", ["big", "w"], ["y"], strides=[2, 2])], {}),
    "dilated": ([helper.make_node("Conv", ["big", "w"], ["y"], dilations=[2, 2])], {}),
    "padded beyond its kernel": ([helper.make_node("Conv", ["big", "w"], ["y"], pads=[3, 3, 3, 3])], {}),
    "padded by the engine": ([helper.make_node("Conv", ["big", "w"], ["y"], auto_pad="SAME_UPPER")], {}),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "options"), KEPT.values(), ids=KEPT)
def test_what_would_not_be_exact_stays(nodes: list[onnx.NodeProto], options: dict[str, Any]) -> None:
    model = upsampled(nodes, [constant("w", 6, 8, 3, 3), PLACES], **options)
    assert kinds(merge_upsampling(model)) == ["Resize", *[node.op_type for node in nodes]]


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_a_convolution_of_groups_or_of_one_pixel_stays(kernel: tuple[int, int]) -> None:
    groups = 1 if kernel == (1, 1) else 2
    conv = helper.make_node("Conv", ["big", "w"], ["y"], group=groups)
    assert kinds(merge_upsampling(upsampled([conv], [constant("w", 6, 8 // groups, *kernel)]))) == ["Resize", "Conv"]


@pytest.mark.filterwarnings("ignore")  # of the exporter about itself
def test_a_decoder_as_pytorch_exports_it() -> None:
    torch.manual_seed(0)
    up = nn.Upsample(scale_factor=2)
    decoder = nn.Sequential(
        nn.Conv2d(8, 16, 3, 1, 1), up, nn.Conv2d(16, 12, 3, 1, 1), nn.SiLU(), up, nn.GroupNorm(4, 12), nn.SiLU(),
        nn.Conv2d(12, 3, 3, 1, 1), nn.Sigmoid(),
    ).eval()  # fmt: skip
    x = torch.randn(2, 8, 4, 5)
    program = torch.onnx.export(
        decoder, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["x"],
        opset_version=18, verbose=False,
    )  # fmt: skip
    assert program is not None
    model = clean_up(program.model_proto, graph="decode")
    merged = merge_upsampling(model)
    assert kinds(model).count("Resize") == 2
    assert [kind for kind in kinds(merged) if "Conv" in kind or kind == "Resize"] == [
        "Conv", "ConvTranspose", "ConvTranspose",
    ]  # fmt: skip
    (found,) = run(merged, x.numpy())
    with torch.inference_mode():
        np.testing.assert_allclose(found, decoder(x).numpy(), rtol=1e-5, atol=1e-6)
