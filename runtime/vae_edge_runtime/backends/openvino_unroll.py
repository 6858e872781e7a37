"""Transposed convolutions in the form that OpenVINO has bfloat16 kernels for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .sub_kernels import sub_kernels


def unroll_transposed(model: Any) -> int:
    """Make convolutions of a model's 2-D transposed ones with one group and constant weights, in place.

    OpenVINO 2026.4 computes a transposed convolution in bfloat16 no faster than in float32. As a convolution whose
    channels are interleaved and cropped, the same sums, the models of docs/benchmarks.md take 0.6 to 0.9 of the time;
    in float32 nothing is won.

    Args:
        model: ``openvino.Model``.

    Returns:
        How many there were.
    """
    import openvino.opset13 as ops

    def numbers(*values: int) -> Any:
        return ops.constant(np.array(values, np.int64))

    replaced = 0
    for node in model.get_ordered_ops():
        weight = node.input_value(1).get_node() if node.get_type_name() == "ConvolutionBackpropData" else None
        if weight is None or weight.get_type_name() != "Constant" or node.get_input_size() != 2:
            continue
        attributes = node.get_attributes()
        stride, size = attributes["strides"][0], weight.data.shape[2:]
        if attributes["strides"] != [stride, stride] or stride == 1 or set(attributes["dilations"]) != {1}:
            continue
        phases = sub_kernels(weight.data, stride)
        taps = phases.shape[2:]
        ends = [
            pad + stride * tap - length - extra
            for pad, tap, length, extra in zip(
                attributes["pads_end"], taps, size, attributes["output_padding"], strict=True
            )
        ]
        if attributes["auto_pad"] not in ("explicit", "notset") or min(ends) < 0:
            continue
        around = [tap - 1 for tap in taps]
        convolution = ops.convolution(node.input_value(0), ops.constant(phases), [1, 1], around, around, [1, 1])
        interleaved = ops.depth_to_space(convolution, "blocks_first", stride)
        stop = numbers(*(-end if end else np.iinfo(np.int64).max for end in ends))
        cropped = ops.slice(interleaved, numbers(*attributes["pads_begin"]), stop, numbers(1, 1), numbers(2, 3))
        node.output(0).replace(cropped.output(0))
        replaced += 1
    model.validate_nodes_and_infer_types()
    return replaced
