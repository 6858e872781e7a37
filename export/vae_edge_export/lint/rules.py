"""One rule, one function: (model, target, place) to what it finds. Each says where its fact comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.precision.activations import element_types
from vae_edge_export.precision.layers import RECURRENT
from vae_edge_runtime.format.onnx_ops import ALLOWED

from .targets import Target

_SCORE_OPS = frozenset(
    """
    Exp Log Pow ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare Softmax LogSoftmax InstanceNormalization LayerNormalization BatchNormalization CumSum
    """.split()  # noqa: SIM905 (as in onnx_ops)
)
_TENSORRT_REFUSES = frozenset({"Col2Im", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
"""Of the operators a bundle may hold: TensorRT RTX 1.7's parser refused these five (2026-11-23), and took the others
that were tried: see docs/verified-on.md."""
_QUANTISED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Lint:
    """One thing an engine would stumble over.

    Attributes:
        place: variant and graph. node: the first one of its kind.
    """

    level: Literal["note", "warning", "error"]
    rule: str
    place: str
    node: str
    what: str
    remedy: str


Rule = Callable[[onnx.ModelProto, Target, str], Iterator[Lint]]


def versions(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """Operator set and file format the oldest engine of the target reads."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset > target.max_opset:
        yield Lint(
            "error", "opset", place, "-", f"opset {opset}; {target.engines} reads up to {target.max_opset}",
            "export with vae-edge, which writes opset 18",
        )  # fmt: skip
    if model.ir_version > target.max_ir:
        what = f"IR version {model.ir_version}, {target.engines} reads up to {target.max_ir}"
        yield Lint(
            "error", "ir-version", place, "-", what,
            "export with vae-edge, which writes IR version 8",
        )  # fmt: skip


def operators(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """Operators a runtime of ours refuses, or TensorRT's parser does."""
    for node in model.graph.node:
        if node.op_type not in ALLOWED or node.domain not in ("", "ai.onnx"):
            yield Lint(
                "error", "operator", place, node.name, f"{node.op_type} is not on the allow-list",
                "replace it by standard, deterministic operations",
            )  # fmt: skip
        elif target.tensorrt and node.op_type in _TENSORRT_REFUSES:
            yield Lint(
                "error", "operator", place, node.name, f"TensorRT's parser refuses {node.op_type}",
                "int8 as QuantizeLinear / DequantizeLinear pairs: --precision int8",
            )  # fmt: skip


def types_agree(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """Mixed types on one operator; TensorRT is built strongly typed and casts nothing by itself."""
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception as error:  # onnx raises several classes without a base of their own
        lines = [line for line in str(error).splitlines() if line.strip()]
        yield Lint(
            "error", "types", place, "-", f"types or shapes do not fit: {lines[-1][:160]}", "add the missing Cast"
        )


def batch_only(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """Only the first axis may be of any size: engines plan memory by the others."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        free = [i for i, dim in enumerate(dims) if i and not dim.dim_value]
        if free:
            yield Lint(
                "error" if value in model.graph.input else "warning", "dynamic-shape", place, value.name,
                f"axis {free[0]} has no size", "export rows of one shape",
            )  # fmt: skip


def resize(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """``antialias=1``: TensorRT's parser refuses it (tried, RTX 1.7)."""
    for node in model.graph.node:
        if target.tensorrt and node.op_type == "Resize" and _attribute(node, "antialias", 0):
            yield Lint("error", "resize-antialias", place, node.name, "TensorRT has no antialiased Resize",
                       "interpolate without antialias, or average-pool first")  # fmt: skip


def transposed_axis(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """ConvTranspose quantised per output channel: TensorRT wants axis 0, and is wrong with others (TensorRT#1694)."""
    producers, constants = _producers(model), _constants(model)
    for node in model.graph.node:
        weight = producers.get(node.input[1]) if node.op_type == "ConvTranspose" else None
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        scale, axis = constants.get(weight.input[1]), _attribute(weight, "axis", 1)
        if scale is not None and scale.size > 1 and axis != 0:
            yield Lint(
                "error" if target.tensorrt else "note", "conv-transpose-axis", place, node.name,
                f"int8 weights have a scale per index of axis {axis}: TensorRT computes wrong results from them",
                "one scale per tensor, as vae-edge export writes it",
            )  # fmt: skip


def symmetric(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """TensorRT quantises to signed int8 around zero and nothing else (its parser says so)."""
    constants = _constants(model)
    for node in model.graph.node:
        zero = constants.get(node.input[2]) if node.op_type in _QUANTISED and len(node.input) > 2 else None
        if zero is None or zero.dtype == np.int32 or not target.tensorrt:
            continue
        if zero.dtype != np.int8 or zero.any():
            kind = f"{zero.dtype.name}{' with a zero point that is not 0' if zero.any() else ''}"
            yield Lint("error", "qdq-symmetric", place, node.name, f"quantised to {kind}; TensorRT takes int8 around 0",
                       "take the variant int8 instead of int8-cpu")  # fmt: skip


def biases(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """int32 biases behind DequantizeLinear, as onnxruntime's quantiser writes them; TensorRT knows int8 there."""
    constants = _constants(model)
    for node in model.graph.node:
        held = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if target.tensorrt and held is not None and held.dtype == np.int32:
            yield Lint("error", "qdq-bias", place, node.name, "an int32 bias is dequantised; TensorRT takes int8 only",
                       "leave biases in float: QuantizeBias=False")  # fmt: skip


def recurrent_weights(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """GRU and RNN behind DequantizeLinear: TensorRT RTX 1.7 fails to build them; an LSTM it builds."""
    producers = _producers(model)
    for node in model.graph.node:
        if target.tensorrt and node.op_type in RECURRENT - {"LSTM"}:
            before = [producers[name] for name in node.input[1:3] if name in producers]
            if any(one.op_type == "DequantizeLinear" for one in before):
                what = f"{node.op_type} with int8 weights does not build"
                yield Lint("error", "recurrent-int8", place, node.name, what,
                           "float16 weights, as vae-edge export writes them for int8")  # fmt: skip


def half_range(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """float16 constants that are infinite, or mostly below its normal numbers (2^-14)."""
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT16:
            continue
        array = numpy_helper.to_array(tensor)
        if not np.isfinite(array).all():
            yield Lint("error", "fp16-range", place, tensor.name, "a float16 constant is not finite (above 65504)",
                       "keep the layer in float32")  # fmt: skip
            continue
        used = np.abs(array[array != 0]).astype(np.float32)
        if used.size and float((used < 2.0**-14).mean()) > 0.5:
            what = "most of a float16 constant lies below 6e-5: digits are lost"
            yield Lint("warning", "fp16-range", place, tensor.name, what,
                       "keep the layer in float32")  # fmt: skip


def half_score(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """Exponentials, reductions and normalisations in float16: exp overflows at 11.09, sums lose digits."""
    types = element_types(model)
    for node in model.graph.node:
        if node.op_type in _SCORE_OPS and types.get(node.output[0]) == TensorProto.FLOAT16:
            yield Lint("error", "fp16-score", place, node.name, f"{node.op_type} computes in float16",
                       "cast its input to float32, as vae-edge export does")  # fmt: skip


def half_transpose(model: onnx.ModelProto, target: Target, place: str) -> Iterator[Lint]:
    """A float16 Transpose before a MatMul ends onnxruntime 1.23 to 1.32 on x86 (onnxruntime#28392, reproduced)."""
    types, producers = element_types(model), _producers(model)
    for node in model.graph.node:
        before = producers.get(node.input[0]) if node.op_type == "MatMul" else None
        if before is not None and before.op_type == "Transpose" and types.get(before.output[0]) == TensorProto.FLOAT16:
            yield Lint("error" if not target.tensorrt else "warning", "fp16-transpose", place, before.name,
                       "a float16 Transpose feeds a MatMul: onnxruntime crashes loading it on x86",
                       "transpose in float32 and cast after it")  # fmt: skip


RULES: tuple[Rule, ...] = (
    versions, operators, types_agree, batch_only, resize, transposed_axis, symmetric, biases, recurrent_weights,
    half_range, half_score, half_transpose,
)  # fmt: skip


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
