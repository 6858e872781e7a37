"""Each planted fault is found by its rule, on its node, for the targets it concerns; shipped graphs have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from strangers import Painter

from vae_edge_export import ExportConfig, export
from vae_edge_export.lint import TARGETS, lint, lint_model
from vae_edge_runtime import OptionError

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
X = ("x", FLOAT, ["n", 4, 8, 8])


def model(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], *, opset: int = 18, ir: int = 8, x: object = X
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*x)],  # type: ignore[misc]
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    )


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(
        kind, ["" if i == "_" else i for i in inputs.split()], [output], name=f"n_{output}", **attributes
    )


def plain() -> onnx.ModelProto:
    return model([node("Relu", "x", "y")], {})


def quantised_transposed() -> onnx.ModelProto:
    weight = np.ones((4, 3, 2, 2), np.int8)
    constants = {"w": weight, "s": np.ones(3, np.float32), "z": np.zeros(3, np.int8)}
    nodes = [node("DequantizeLinear", "w s z", "wf", axis=1), node("ConvTranspose", "x wf", "y")]
    return model(nodes, constants)


def asymmetric(dtype: type, zero: int) -> Callable[[], onnx.ModelProto]:
    constants = {"s": np.array(0.1, np.float32), "z": np.array(zero, dtype)}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    return lambda: model(nodes, constants)


def int32_bias() -> onnx.ModelProto:
    constants = {"b": np.ones((1, 4, 1, 1), np.int32), "s": np.array(0.1, np.float32)}
    return model([node("DequantizeLinear", "b s", "bf"), node("Add", "x bf", "y")], constants)


def int8_gru() -> onnx.ModelProto:
    constants = {
        "w": np.ones((1, 12, 8), np.int8),
        "s": np.array(0.1, np.float32),
        "r": np.ones((1, 12, 4), np.float32),
    }
    nodes = [node("DequantizeLinear", "w s", "wf"), node("GRU", "x wf r", "y", hidden_size=4)]
    return model(nodes, constants, x=("x", FLOAT, [3, 2, 8]))


def half_node(kind: str, **attributes: object) -> Callable[[], onnx.ModelProto]:
    nodes = [
        node("Cast", "x", "h", to=HALF),
        node(kind, "h", "e", **attributes),
        node("Cast", "e", "y", to=FLOAT),
    ]
    return lambda: model(nodes, {})


def half_constant(value: float) -> Callable[[], onnx.ModelProto]:
    with np.errstate(over="ignore"):
        constant = np.array([value], np.float32).astype(np.float16)
    nodes = [node("Cast", "x", "h", to=HALF), node("Mul", "h c", "m"), node("Cast", "m", "y", to=FLOAT)]
    return lambda: model(nodes, {"c": constant})


def half_transpose() -> onnx.ModelProto:
    nodes = [
        node("Cast", "x", "h", to=HALF),
        node("Transpose", "h", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "t w", "m"),
        node("Cast", "m", "y", to=FLOAT),
    ]
    return model(nodes, {"w": np.ones((8, 2), np.float16)})


JP, ALL = ("jetson-jp6", "jetson-jp7"), tuple(TARGETS)
FAULTS: list[tuple[str, Callable[[], onnx.ModelProto], tuple[str, ...], str, str]] = [
    ("opset", lambda: model([node("Relu", "x", "y")], {}, opset=23, ir=8), ALL, "error", "-"),
    ("ir-version", lambda: model([node("Relu", "x", "y")], {}, ir=11), ALL, "error", "-"),
    ("operator", lambda: model([node("Bernoulli", "x", "y")], {}), ALL, "error", "n_y"),
    ("operator", lambda: model([node("MatMulInteger", "x x", "y")], {}), JP, "error", "n_y"),
    ("types", lambda: model([node("Cast", "x", "h", to=HALF), node("Add", "x h", "y")], {}), ALL, "error", "-"),
    ("dynamic-shape", lambda: model([node("Relu", "x", "y")], {}, x=("x", FLOAT, ["n", 4, "h", 8])), ALL, "error", "x"),
    (
        "resize-antialias",
        lambda: model([node("Resize", "x _ s", "y", mode="linear", antialias=1)], {"s": np.ones(4, np.float32)}),
        JP,
        "error",
        "n_y",
    ),
    ("conv-transpose-axis", quantised_transposed, JP, "error", "n_y"),
    ("conv-transpose-axis", quantised_transposed, ("ort-cpu",), "note", "n_y"),
    ("qdq-symmetric", asymmetric(np.uint8, 128), JP, "error", "n_q"),
    ("qdq-symmetric", asymmetric(np.int8, 3), JP, "error", "n_q"),
    ("qdq-bias", int32_bias, JP, "error", "n_bf"),
    ("recurrent-int8", int8_gru, JP, "error", "n_y"),
    ("fp16-range", half_constant(1e5), ALL, "error", "c"),
    ("fp16-range", half_constant(1e-6), ALL, "warning", "c"),
    ("fp16-score", half_node("Exp"), ALL, "error", "n_e"),
    ("fp16-score", half_node("ReduceSum"), ALL, "error", "n_e"),
    ("fp16-transpose", half_transpose, ("ort-cpu",), "error", "n_t"),
    ("fp16-transpose", half_transpose, JP, "warning", "n_t"),
]


@pytest.mark.parametrize(("rule", "make", "targets", "level", "where"), FAULTS)
def test_a_planted_fault_is_found(
    rule: str, make: Callable[[], onnx.ModelProto], targets: tuple[str, ...], level: str, where: str
) -> None:
    for target in TARGETS.values():
        found = [one for one in lint_model(make(), target, place="v/g") if one.rule == rule and one.level == level]
        if target.name not in targets:
            assert found == []
            continue
        assert found, (target.name, lint_model(make(), target, place="v/g"))
        assert found[0].node.split(" and ")[0] == where
        assert found[0].remedy
        if rule == "types":
            assert "type" in found[0].what


@pytest.mark.parametrize("target", ALL)
def test_a_graph_without_a_fault_is_clean(target: str) -> None:
    assert lint_model(plain(), TARGETS[target], place="v/g") == []
    symmetric = asymmetric(np.int8, 0)()
    assert [one for one in lint_model(symmetric, TARGETS[target], place="v/g") if one.level == "error"] == []


def test_what_vae_edge_ships_is_clean_but_for_int8_cpu_on_tensorrt(tmp_path: Path, images: np.ndarray) -> None:
    config = ExportConfig(
        layout="nhwc", scale=(255.0,), false_positive_rate=0.05, likelihood="bernoulli",
        precisions=("fp32", "fp16", "int8-cpu"),
        gates={},
    )  # fmt: skip
    looser = {
        "min_rank_correlation": 0.0, "min_decision_agreement": 0.0, "max_auroc_change": 1.0, "min_psnr_db": 0.0,
        "min_ssim": 0.0, "max_latent_error": 9.0,
    }  # fmt: skip
    from dataclasses import replace

    from vae_edge_export.gates import Gate

    gate = Gate(**looser)
    config = replace(config, gates={"fp16": gate, "int8-cpu": gate})
    path = tmp_path / "p.vaeb"
    export(
        Painter(), path, calibration=images, config=config, scale_form="log_std",
        encode=lambda m, x: m.look(x), decode=lambda m, z: m.paint(z),
    )  # fmt: skip
    for target in ALL:
        report = lint(path, target)
        assert report.graphs == 9
        assert {one.place.split("/")[0] for one in report.lints if one.level == "error"} == (
            {"int8-cpu"} if target in JP else set()
        )
        assert lint(path, target, variant="fp16").ok
        assert len(report.dla) == (9 if target == "jetson-jp6" else 0)
    assert lint(path, "jetson-jp6").dla["fp32/encode"].startswith("would run on DLA: ")
    assert lint(path, "jetson-jp6").dla["fp32/encode"].endswith("fp16 only; vae-edge builds no engine for a DLA")
    for wrong in ({"target": "jetson-jp5"}, {"target": "ort-cpu", "variant": "int8"}):
        with pytest.raises(OptionError):
            lint(path, **wrong)  # type: ignore[arg-type]
