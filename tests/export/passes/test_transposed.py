"""A ConvTranspose written as a Conv with interleaved channels computes the same for every stride, kernel, padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.passes.transposed import unroll_transposed

RNG = np.random.default_rng(0)


def model(
    kernel: tuple[int, int],
    *,
    behind: Sequence[onnx.NodeProto] = (),
    outputs: Sequence[str] = ("y",),
    image: tuple[int | str, int | str] = (5, 7),
    channels: int = 6,
    **attributes: object,
) -> onnx.ModelProto:
    groups = int(attributes.get("group", 1))  # type: ignore[call-overload]
    weight = RNG.normal(size=(4, channels // groups, *kernel)).astype(np.float32)
    up = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y" if not behind else "up"], name="up", **attributes)
    graph = helper.make_graph(
        [up, *behind],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, *image])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(RNG.normal(size=channels).astype(np.float32), "b"),
            numpy_helper.from_array(np.float32(2), "two"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def run(m: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
    return found


MOVES = ["Transpose", "Reshape", "Transpose", "Reshape", "Slice", "Transpose"]
CASES = [
    ((kh, kw), stride, pad, extra)
    for (kh, kw), stride, pad, extra in itertools.product(
        [(2, 2), (3, 3), (4, 4), (5, 3)], [2, 3], [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 1)], [(0, 0), (1, 1)]
    )
    if max(extra) < stride and min(kh, kw) > max(pad)
]


@pytest.mark.parametrize(("kernel", "stride", "pads", "extra"), CASES)
def test_the_unrolled_form_is_exact(
    kernel: tuple[int, int], stride: int, pads: tuple[int, ...], extra: tuple[int, int]
) -> None:
    m = model(kernel, strides=[stride] * 2, pads=pads, output_padding=extra)
    x = RNG.normal(size=(2, 4, 5, 7)).astype(np.float32)
    unrolled = unroll_transposed(m)
    wanted, found = run(m, x), run(unrolled, x)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    kinds = [node.op_type for node in unrolled.graph.node]
    reaches = all(p + stride * -(-k // stride) - k - e >= 0 for p, k, e in zip(pads[2:], kernel, extra, strict=True))
    assert kinds == (["Conv", *MOVES] if reaches else ["ConvTranspose"])


@pytest.mark.parametrize("kept", [{"group": 2}, {"strides": [1, 1]}, {"strides": [2, 1]}, {"dilations": [2, 2]}])
def test_other_kinds_stay_as_they_are(kept: dict[str, object]) -> None:
    m = model((3, 3), **({"strides": [2, 2]} | kept))
    assert [node.op_type for node in unroll_transposed(m).graph.node] == ["ConvTranspose"]


def test_one_channel_needs_no_transposition_back() -> None:
    m = model((4, 4), channels=1, strides=[2, 2], pads=[1, 1, 1, 1])
    unrolled = unroll_transposed(m)
    assert [node.op_type for node in unrolled.graph.node] == ["Conv", *MOVES[:-1], "Reshape"]
    x = RNG.normal(size=(3, 4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(run(unrolled, x), run(m, x), rtol=1e-5, atol=1e-5)


def test_images_of_unknown_size_stay_as_they_are() -> None:
    m = model((4, 4), image=("h", "w"), strides=[2, 2], pads=[1, 1, 1, 1])
    assert [node.op_type for node in unroll_transposed(m).graph.node] == ["ConvTranspose"]


SILU = [helper.make_node("Sigmoid", ["up"], ["gate"]), helper.make_node("Mul", ["up", "gate"], ["y"])]
CLIPPED = [helper.make_node("Relu", ["up"], ["high"]), helper.make_node("Min", ["high", "two"], ["y"])]
BEHIND = {
    "SiLU": (SILU, ["Conv", "Sigmoid", "Mul", *MOVES], ["y"]),
    "the part that is elementwise": (CLIPPED, ["Conv", "Relu", *MOVES, "Min"], ["y"]),
    "none, as the plain result is given out too": (SILU, ["Conv", *MOVES, "Sigmoid", "Mul"], ["y", "up"]),
}


@pytest.mark.parametrize(("behind", "kinds", "outputs"), BEHIND.values(), ids=BEHIND)
def test_an_activation_goes_in_front_of_the_moves(
    behind: list[onnx.NodeProto], kinds: list[str], outputs: list[str]
) -> None:
    m = model((4, 4), behind=behind, outputs=outputs, strides=[2, 2], pads=[1, 1, 1, 1])
    unrolled = unroll_transposed(m)
    onnx.checker.check_model(unrolled, full_check=True)
    assert [node.op_type for node in unrolled.graph.node] == kinds
    x = RNG.normal(size=(2, 4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(run(unrolled, x), run(m, x), rtol=1e-5, atol=1e-5)
