"""Graphs in float16 and int8: what changes type, what must not, and how the figures are taken."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.gates import DEFAULT_GATES, figures, parse_gates, problems
from vae_edge_export.precision import half
from vae_edge_export.precision.activations import element_types, largest_values, ranges, run, session_of
from vae_edge_export.precision.fidelity import mean_ssim, relative_latent_error, score_noise, whole_psnr_db
from vae_edge_export.precision.layers import Layer, find_networks, weight_bytes
from vae_edge_export.precision.quantise import quantise, quantise_weights
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import Fidelity
from vae_edge_runtime.format.specs import InputSpec

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(64, 3, 8, 8)).astype(np.float32)


def weights(**shapes: tuple[int, ...]) -> dict[str, onnx.TensorProto]:
    rng = np.random.default_rng(1)
    made = {name: rng.normal(size=shape, scale=0.3).astype(np.float32) for name, shape in shapes.items()}
    return {name: numpy_helper.from_array(array, name) for name, array in made.items()}


WEIGHTS = weights(
    e1=(4, 3, 3, 3), b1=(4,), mu=(2, 4, 1, 1), d1=(2, 5, 2, 2), bd=(5,), d2=(3, 5, 3, 3), kernel=(3, 3, 3, 3)
)


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes)


ENCODE = [
    node("Mul", ["x", "gain"], "scaled"),
    node("Conv", ["scaled", "e1", "b1"], "h", strides=[2, 2], pads=[1, 1, 1, 1]),
    node("Relu", ["h"], "active"),
    node("Conv", ["active", "mu"], "mean"),
]
DECODE = [
    node("ConvTranspose", ["z", "d1", "bd"], "up", strides=[2, 2]),
    node("Relu", ["up"], "bright"),
    node("Conv", ["bright", "d2"], "x_hat", pads=[1, 1, 1, 1]),
]
TAIL = [
    node("Sub", ["scaled", "x_hat"], "residual"),
    node("Conv", ["residual", "kernel"], "smooth", pads=[1, 1, 1, 1]),  # like SSIM's: no weight of the network
    node("Pow", ["smooth", "two"], "square"),
    node("ReduceSum", ["square", "axes"], "score", keepdims=0),
]
CONSTANTS = {
    "gain": numpy_helper.from_array(np.array(2.0, np.float32), "gain"),
    "two": numpy_helper.from_array(np.array(2.0, np.float32), "two"),
    "axes": numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
}


def model(nodes: list[onnx.NodeProto], source: str, shape: list[object], outputs: list[str]) -> onnx.ModelProto:
    read = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [tensor for name, tensor in (WEIGHTS | CONSTANTS).items() if name in read],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def graphs() -> dict[str, onnx.ModelProto]:
    joined = [onnx.NodeProto.FromString(n.SerializeToString()) for n in DECODE]
    joined[0].input[0] = "mean"
    return {
        "encode": model(ENCODE, "x", ["n", 3, 8, 8], ["mean"]),
        "decode": model(DECODE, "z", ["n", 2, 4, 4], ["x_hat"]),
        "score": model([*ENCODE, *joined, *TAIL], "x", ["n", 3, 8, 8], ["score", "mean", "x_hat"]),
    }


def inside(models: dict[str, onnx.ModelProto]) -> frozenset[str]:
    network = find_networks(models)["score"]
    return network.between["encoder"] | network.between["decoder"]


def test_the_body_is_every_layer_but_the_latent_head_and_kernels_of_the_score() -> None:
    networks = find_networks(graphs())
    assert [(layer.weight, layer.part) for layer in networks["score"].layers] == [
        ("e1", "encoder"),
        ("d1", "decoder"),
        ("d2", "decoder"),
    ]
    assert networks["encode"].between["encoder"] == {"node_h"}
    assert networks["score"].between["decoder"] == {"node_up", "node_bright", "node_x_hat"}
    assert str(networks["score"].layers[1]) == "ConvTranspose up (2x5x2x2)"


def test_only_the_body_is_float16_and_inputs_and_outputs_are_not() -> None:
    models = graphs()
    plan = half.plan(models["score"], inside(models), largest_values(models["score"], [{"x": X}]))
    made = half.to_half(models["score"], plan)
    onnx.checker.check_model(made, full_check=True)
    types = element_types(made)
    halves = {n.name for n in made.graph.node if types.get(n.output[0]) == TensorProto.FLOAT16}
    assert {name for name in halves if not name.startswith("cast_")} == {
        "node_h",
        "node_up",
        "node_bright",
        "node_x_hat",
    }
    assert {types[value.name] for value in (*made.graph.input, *made.graph.output)} == {TensorProto.FLOAT}
    network = find_networks(models)["score"]
    assert weight_bytes(made, network.layers) * 2 == weight_bytes(models["score"], network.layers)


def test_a_rounded_graph_rounds_every_result_as_float16_does() -> None:
    nodes = [node("Add", ["x", "k"], "up"), node("Sub", ["up", "k"], "y")]
    WEIGHTS["k"] = numpy_helper.from_array(np.array(1000.0, np.float32), "k")
    m = model(nodes, "x", ["n"], ["y"])
    plan = half.HalfPlan(frozenset({"node_up", "node_y"}), frozenset(), {})
    x = np.array([0.3, 0.7, 3.14159], np.float32)
    assert run(session_of(half.rounded(m, plan)), ["y"], {"x": x})["y"].tolist() == [0.5, 0.5, 3.0]
    # The typed graph on this CPU does not, which is why gates are measured on the rounded one.
    assert abs(run(session_of(half.to_half(m, plan)), ["y"], {"x": x})["y"][0] - 0.3) < 1e-3


@pytest.mark.parametrize(
    ("scale", "reason"),
    [(2e5, "float16 ends at 65504"), (3e4, "values to"), (1e-7, "too small for float16"), (2e-5, "below float16's")],
)
def test_what_leaves_the_range_of_float16_stays_float32_and_says_why(scale: float, reason: str) -> None:
    models = graphs()
    for m in models.values():
        for tensor in m.graph.initializer:
            if tensor.name == "e1":
                array = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array((array / np.abs(array).max() * scale).astype(np.float32), "e1"))
            if tensor.name == "b1":
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), "b1"))
    x = X * (0.1 if scale == 2e-5 else 1)
    plan = half.plan(models["score"], inside(models), largest_values(models["score"], [{"x": x}]))
    assert "node_h" not in plan.nodes
    assert reason in plan.kept["node_h"]
    found = run(session_of(half.rounded(models["score"], plan)), ["score"], {"x": x})["score"]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["int8", "int8-cpu"])
def test_int8_has_the_axes_types_and_places_its_engine_takes(kind: str) -> None:
    models = graphs()
    m, network = models["score"], find_networks(models)["score"]
    signed = kind == "int8"
    by = ranges(m, {"x": X}, method="minmax", op_types=["Conv", "ConvTranspose"], symmetric=signed)
    made = quantise(m, network.layers, by, kind=kind, inside=inside(models))  # type: ignore[arg-type]
    onnx.checker.check_model(made, full_check=True)
    constants = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    stored = [n for n in made.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    scales = {
        constants[n.input[0]].shape: constants[n.input[1]].shape for n in stored if constants[n.input[0]].ndim > 1
    }
    assert scales == {(4, 3, 3, 3): (4,), (2, 5, 2, 2): (), (3, 5, 3, 3): (3,)}
    weights = {(constants[n.input[0]].dtype.name, *np.unique(constants[n.input[2]])) for n in stored
               if constants[n.input[0]].ndim > 1}  # fmt: skip
    assert weights == {("int8", 0) if signed else ("uint8", 128)}
    zeros = {constants[n.input[2]].dtype.name for n in made.graph.node if n.op_type == "QuantizeLinear"}
    assert zeros == {"int8" if signed else "uint8"}
    if signed:
        assert all(not constants[n.input[2]].any() for n in made.graph.node if n.op_type == "QuantizeLinear")
    quantised = {n.input[0] for n in made.graph.node if n.op_type == "QuantizeLinear"}
    assert quantised == (
        {"scaled", "mean", "bright"}
        if signed
        else {"scaled", "h", "mean", "up", "bright", "x_hat_QuantizeLinear_Input"}
    )
    readers = {n.name: list(n.input) for n in made.graph.node}
    assert readers["node_residual"][0] == "scaled"  # the score compares with the row itself, not its 8-bit copy
    biases = {n.output[0]: constants[n.input[0]].dtype for n in stored}
    bias = readers["node_h"][2]
    assert (biases[bias] if bias in biases else constants[bias].dtype) == (np.float32 if signed else np.int32)
    exact = run(session_of(m), ["score", "mean"], {"x": X})
    found = run(session_of(made), ["score", "mean"], {"x": X})
    assert score_noise(found["score"], exact["score"]) < 0.1
    assert relative_latent_error(found["mean"], exact["mean"]) < 0.03
    assert len(np.unique(found["mean"])) > 1000  # not the 8-bit copy the decoder reads


def test_integer_kernels_give_what_float_arithmetic_gives_on_any_cpu() -> None:
    """Pairs of unsigned and signed bytes saturate on x86 CPUs without VNNI: weights are unsigned."""
    models = graphs()
    m, network = models["score"], find_networks(models)["score"]
    by = ranges(m, {"x": X}, method="minmax", op_types=["Conv", "ConvTranspose"], symmetric=False)
    made = quantise(m, network.layers, by, kind="int8-cpu", inside=inside(models))
    whole = run(session_of(made), ["score", "mean"], {"x": X})
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    floats = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for name, array in run(floats, list(whole), {"x": X}).items():
        np.testing.assert_allclose(whole[name], array, rtol=1e-4, atol=1e-5 * np.abs(array).max())


@pytest.mark.parametrize("once", [True, False])
def test_int8_weights_are_within_half_a_step_of_the_float_ones(once: bool, tmp_path: Path) -> None:
    arrays = {"g": (4, 6), "m": (4, 5), "w": (1, 12, 5), "r": (1, 12, 4)}
    WEIGHTS.update(weights(**arrays))
    nodes = [
        node("Gemm", ["x", "g"], "a", transB=1),
        node("MatMul", ["a", "m"], "b"),
        node("Unsqueeze", ["b", "first"], "c"),
        node("GRU", ["c", "w", "r"], "y", hidden_size=4),
    ]
    CONSTANTS["first"] = numpy_helper.from_array(np.array([0]), "first")
    m = model(nodes, "x", ["n", 6], ["y"])
    layers = [
        Layer(f"node_{output}", kind, weight, arrays[weight], "encoder")
        for output, kind, weight in (("a", "Gemm", "g"), ("b", "MatMul", "m"), ("y", "GRU", "w"))
    ]
    made = quantise_weights(m, layers, once=once)
    onnx.checker.check_model(made, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = {n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert ("DequantizeLinear" in left, "Cast" in left) == (not once, False)  # at every call, or when a session starts
    constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in made.graph.initializer}
    for name, axis in {"g": 0, "m": 1, "w": 1, "r": 1}.items():
        scale = constants[f"{name}.scale"].reshape([-1 if i == axis else 1 for i in range(len(arrays[name]))])
        exact = numpy_helper.to_array(WEIGHTS[name]).astype(np.float64)
        assert (np.abs(constants[f"{name}.int8"] * scale - exact) <= scale * (0.5 + 1e-5)).all()
        assert np.abs(constants[f"{name}.int8"]).max() == 127
    x = RNG.normal(size=(8, 6)).astype(np.float32)
    np.testing.assert_allclose(
        run(session_of(made), ["y"], {"x": x})["y"], run(session_of(m), ["y"], {"x": x})["y"], atol=0.02
    )
    assert weight_bytes(made, layers) < 0.55 * weight_bytes(m, layers)  # layers so tiny that the scales weigh as much


def test_figures_are_what_their_names_say() -> None:
    a = np.array([0.0, 10.0, 20.0, 30.0])
    row = InputSpec((1,), "float32", "features", -50.0, 50.0, ())
    assert whole_psnr_db(a + 1, a, row) == pytest.approx(40.0)
    assert whole_psnr_db(a, a, row) == 200.0
    assert whole_psnr_db(a * np.nan, a, row) == 0.0
    assert relative_latent_error(a[:, None] * 1.1, a[:, None]) == pytest.approx(0.1)
    assert relative_latent_error(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25
    pictures = RNG.integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    assert mean_ssim(pictures, pictures, InputSpec((12, 12, 3), "uint8", "nhwc", 0.0, 255.0, ())) == pytest.approx(1.0)
    assert mean_ssim(a, a, row) is None
    assert score_noise(3 * a + 7, a) == pytest.approx(0.0, abs=1e-7)  # thresholds are fitted anew
    assert score_noise(np.array([1.0, -1.0, -1.0, 1.0]), a) == pytest.approx(1.0)
    assert score_noise(np.array([1.0, np.nan, 1.0, 1.0]), a) == math.inf


def fidelity(**changed: float) -> Fidelity:
    figures = {"rank_correlation": 0.9999, "decision_agreement": 1.0, "auroc_change": 0.0, "latent_error": 0.001}
    return Fidelity(
        rows=500, auroc_on="labelled", reconstruction_psnr_db=60.0, reconstruction_ssim=0.999, **(figures | changed)
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["rank_correlation", "decision_agreement", "auroc_change", "latent_error"])
def test_each_limit_alone_closes_the_gate_and_so_does_nan(field: str) -> None:
    gate = DEFAULT_GATES["int8"]
    assert problems(fidelity(), gate) == []
    for bad in (0.5, math.nan):
        assert len(problems(fidelity(**{field: bad}), gate)) == 1


def test_one_row_may_be_decided_differently_and_two_may_not() -> None:
    gate = DEFAULT_GATES["fp16"]
    for rows, agreement, kept in ((100, 0.99, True), (100, 0.98, False), (1000, 0.996, True), (1000, 0.994, False)):
        found = Fidelity(rows, 1.0, agreement, 0.0, "labelled", 60.0, None, 0.0)
        assert all(f.kept for f in figures(found, gate)) == kept, (rows, agreement)


def test_gates_are_set_by_name() -> None:
    gates = parse_gates(("int8.min_psnr_db=25", "int8.max_latent_error=0.2"))
    assert (gates["int8"].min_psnr_db, gates["int8"].max_latent_error) == (25.0, 0.2)
    assert gates["fp16"] == DEFAULT_GATES["fp16"]
    for wrong in ("int8=3", "int9.min_psnr_db=3", "int8.psnr=3", "int8.min_psnr_db=many", "int8.min_psnr_db=-1"):
        with pytest.raises(OptionError):
            parse_gates((wrong,))
