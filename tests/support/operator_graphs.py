"""The case of an operator as a model of one node."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from operator_cases import Array, Case, Weight

OPSET, IR_VERSION = 18, 8


def by_reference(node: onnx.NodeProto, values: dict[str, Array]) -> tuple[Array, ...]:
    inputs, outputs = ([helper.make_empty_tensor_value_info(name) for name in names] for names in (values, node.output))
    graph = helper.make_graph([node], "reference", inputs, outputs)
    return tuple(ReferenceEvaluator(graph, opsets={"": OPSET}).run(None, values))


def input_info(name: str, array: Array, batch_axis: int) -> onnx.ValueInfoProto:
    dims = ["batch" if axis == batch_axis else size for axis, size in enumerate(array.shape)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims)


def output_info(name: str, array: Array) -> onnx.ValueInfoProto:
    """Type and rank; the engine finds the sizes."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)


def build(op: str, case: Case) -> tuple[bytes, dict[str, Array], dict[str, Array]]:
    """A model of one node, what to feed it, and what it must give."""
    names = ["" if operand is None else f"x{i}" for i, operand in enumerate(case.operands)]
    operands = {name: operand for name, operand in zip(names, case.operands, strict=True) if operand is not None}
    weights = {name: operand.value for name, operand in operands.items() if isinstance(operand, Weight)}
    feeds = {name: operand for name, operand in operands.items() if not isinstance(operand, Weight)}
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in case.attributes.items()
    }
    node = helper.make_node(op, names, [f"y{i}" for i in range(len(case.gives) or 1)], **attributes)
    wanted = dict(zip(node.output, case.gives or by_reference(node, feeds | weights), strict=True))
    graph = helper.make_graph(
        [node],
        op,
        [input_info(name, array, case.batch_axis) for name, array in feeds.items()],
        [output_info(name, array) for name, array in wanted.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    return model.SerializeToString(), feeds, wanted
