"""Layers of an fp32 graph to int8, as QuantizeLinear / DequantizeLinear pairs around them.

onnxruntime's quantiser does the arithmetic. What it lacks is here: which tensors the rest of the
graph reads (it would feed the score the quantised input and the quantised latent), per-tensor
ConvTranspose weights, and layers whose weights alone are int8.

Two kinds, because engines want opposite things:

``int8``: for TensorRT. Signed symmetric activations, pairs only before a layer, biases in float
    (TensorRT refuses unsigned activations, and int32 biases).
``int8-cpu``: for onnxruntime on a CPU. Unsigned activations, pairs before and after a layer:
    without those after it no integer kernel is chosen (measured on x86: SiLU networks stay float).
    Biases in int32: without them a dense layer with a float result keeps float arithmetic and has its
    weights unpacked at every call (measured, MLP of 4 M weights: as slow as fp32 without, 3.5 times
    its speed with, one row).
    Weights are unsigned, with 128 for zero: x86 CPUs without VNNI add products of unsigned and signed bytes in pairs,
    in 16 bits, and such a sum may saturate (measured on Zen 3: outputs off by up to 0.4 of their range). Of two
    unsigned bytes they are added exactly, on every CPU.
    What lies between layers is quantised with them (``along``), or float islands cost more than the
    integer kernels win (measured, batch 32: 1.34 times fp32's speed without, 1.67 with; ranks alike), and
    transposed convolutions take the form of ``passes.transposed`` (2.3 times with that).
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .half import drop_unread
from .layers import CONVOLUTIONS, RECURRENT, Layer

Int8 = Literal["int8", "int8-cpu"]

_PER_CHANNEL_AXIS = {"LSTM": 1, "GRU": 1, "RNN": 1, "Conv": 0, "ConvTranspose": None, "MatMul": 1}


def quantise(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    ranges: Any,
    *,
    kind: Int8,
    inside: Collection[str],
    along: Collection[str] = (),
) -> onnx.ModelProto:
    """A new model with some layers in int8.

    Args:
        layers: none of them recurrent; their weights are quantised per channel, those of
            ConvTranspose per tensor (TensorRT wants scales per *input* channel and is wrong otherwise).
        ranges: of the tensors around them, from ``activations.ranges``.
        inside: nodes of the network; all others read the float tensors.
        along: nodes between the layers that are quantised with them, from ``along.nodes_along``.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    signed = kind == "int8"
    quantised = {layer.node for layer in layers} | set(along)
    op_types = sorted({node.op_type for node in model.graph.node if node.name in quantised})
    per_tensor = {
        layer.weight: [{"quant_type": QuantType.QInt8, "symmetric": True}]
        for layer in layers
        if layer.op_type == "ConvTranspose"
    }
    options = {
        "ActivationSymmetric": signed,
        "WeightSymmetric": True,
        "QuantizeBias": not signed,
        "TensorQuantOverrides": per_tensor,
        "OpTypesToExcludeOutputQuantization": op_types if signed else [],
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with redirect_stdout(io.StringIO()):
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if signed else QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=sorted(quantised),
            nodes_to_exclude=[],
            op_types_to_quantize=op_types,
            extra_options=options,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    if not signed:
        _unsigned_weights(result)
    _free_outputs(result, layers)
    _spare_the_rest(result, layers, frozenset(inside))
    return drop_unread(result)


def _unsigned_weights(model: onnx.ModelProto) -> None:
    """The same weights as unsigned bytes whose zero is 128, in place."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    stored = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    names = {name for node in stored for name in (node.input[0], node.input[2])}
    for name in names:
        array = numpy_helper.to_array(tensors[name])
        if array.dtype == np.int8:  # and not a bias, in int32
            shifted = (array.astype(np.int16) + 128).astype(np.uint8)
            tensors[name].CopyFrom(numpy_helper.from_array(shifted, name))


def _free_outputs(model: onnx.ModelProto, layers: Sequence[Layer]) -> None:
    """Give the float tensor out where a layer reads an output of the graph, in place.

    onnxruntime's quantiser gives out its 8-bit copy, and calls the float one ``NAME_QuantizeLinear_Input``.
    """
    graph = model.graph
    convolutions = _results_of_convolutions(graph, layers)
    given = {output for node in graph.node for output in node.output}
    renamed: dict[str, str] = {}
    for value in graph.output:
        exact = f"{value.name}_QuantizeLinear_Input"
        if exact in given and exact not in convolutions:
            renamed |= {exact: value.name, value.name: f"{value.name}_DequantizeLinear_Output"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]


def _results_of_convolutions(graph: onnx.GraphProto, layers: Sequence[Layer]) -> set[str]:
    names = {layer.node for layer in layers if layer.op_type in CONVOLUTIONS}
    return {output for node in graph.node if node.name in names for output in node.output}


def _spare_the_rest(model: onnx.ModelProto, layers: Sequence[Layer], inside: frozenset[str]) -> None:
    """Give every node outside the network the float tensor instead of the quantised one, in place.

    A convolution's own result stays quantised for all: its integer kernel gives nothing else.
    """
    graph = model.graph
    quantised = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    source = {
        node.output[0]: quantised[node.input[0]].input[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantised
    }
    names = {layer.node for layer in layers}
    convolutions = _results_of_convolutions(graph, layers)
    for node in graph.node:
        if node.name in names or node.name in inside or node.op_type == "QuantizeLinear":
            continue
        for index, name in enumerate(node.input):
            tensor = source.get(name)
            if tensor is not None and tensor not in convolutions:
                node.input[index] = tensor


def quantise_weights(model: onnx.ModelProto, layers: Sequence[Layer], *, once: bool) -> onnx.ModelProto:
    """A new model whose layers compute in float with weights stored as int8, one scale per output channel.

    For recurrent layers, which no engine quantises statically, and for those of the latent, which must stay exact.

    Args:
        once: float weights are made when a session starts, by Cast and Mul, which onnxruntime folds; it leaves
            DequantizeLinear, the form for TensorRT, to every call.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    nodes = {layer.node for layer in layers}
    made: dict[str, str] = {}
    before: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name not in nodes:
            continue
        places = (1, 2) if node.op_type in RECURRENT else (0, 1)
        for index in places:
            name = node.input[index]
            if name not in arrays or arrays[name].dtype != np.float32:
                continue
            if name not in made:
                axis = _axis(node, index, arrays[name].ndim)
                made[name] = f"{name}.float"
                before += _dequantized(graph, name, arrays[name], axis, made[name], once=once)
            node.input[index] = made[name]
    after = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *after])
    return drop_unread(result)


def _axis(node: onnx.NodeProto, index: int, ndim: int) -> int | None:
    """Axis of the output channels in a weight; None: one scale for all."""
    if node.op_type == "Gemm":
        transposed = next((a.i for a in node.attribute if a.name == "transB"), 0)
        return 0 if transposed else 1
    if node.op_type == "MatMul":
        return ndim - 1 if index == 1 else None
    return _PER_CHANNEL_AXIS[node.op_type]


def _dequantized(
    graph: onnx.GraphProto, name: str, array: np.ndarray, axis: int | None, output: str, *, once: bool
) -> list[onnx.NodeProto]:
    """Add int8 weight and scale to the graph; the nodes that make float of them."""
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    largest = np.abs(array).max(axis=others, keepdims=axis is not None)
    scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    whole = np.clip(np.round(array / scale), -127, 127).astype(np.int8)
    graph.initializer.append(numpy_helper.from_array(whole, f"{name}.int8"))
    if once:
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        return [
            helper.make_node(
                "Cast", [f"{name}.int8"], [f"{name}.whole"], name=f"{name}.cast", to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [output], name=f"{name}.scaled"),
        ]
    flat = scale.reshape(-1) if axis is not None else scale.reshape(())
    graph.initializer.append(numpy_helper.from_array(flat, f"{name}.scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(flat.shape, np.int8), f"{name}.zero"))
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return [
        helper.make_node(
            "DequantizeLinear", [f"{name}.int8", f"{name}.scale", f"{name}.zero"], [output], name=f"{name}.dequantize",
            **attributes,
        )
    ]  # fmt: skip
