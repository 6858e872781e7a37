"""How much of a graph NVIDIA's deep learning accelerator (DLA) of an Orin NX or AGX could take; a note, no promise.

From NVIDIA's "Working with DLA" for TensorRT 10: static shapes only, these layers; what does not fit runs on the GPU,
and every change between the two costs a copy. Up to TensorRT 10.7, the last with a DLA before 11.4.1, it takes no
QuantizeLinear and DequantizeLinear (TensorRT#2222), and vae-edge's int8 is written with them: fp16 is left. vae-edge
builds no engine for it. MatMul and Gemm are not in NVIDIA's list of layers.
"""

from __future__ import annotations

import onnx

_ALONE = frozenset(
    """
    Conv ConvTranspose Relu Sigmoid Tanh LeakyRelu Clip Add Sub Mul Min Max MaxPool AveragePool
    GlobalAveragePool Concat BatchNormalization PRelu Resize Slice Softmax
    """.split()  # noqa: SIM905 (as in onnx_ops)
)
_FREE = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Shape", "Constant"})
"""Nodes that become no layer."""


def dla_share(model: onnx.ModelProto) -> str:
    """``would run on DLA: n of m layers``, and how many pieces that is."""
    layers = [node.op_type in _ALONE for node in model.graph.node if node.op_type not in _FREE]
    pieces = sum(1 for before, now in zip([False, *layers], layers, strict=False) if now and not before)
    return (
        f"would run on DLA: {sum(layers)} of {len(layers)} layers, in {pieces} pieces between GPU layers, "
        "with a fixed batch and in fp16 only; vae-edge builds no engine for a DLA"
    )
