"""How many values a mean or a sum runs over, and how they are parted into two steps of some length each.

ONNX Runtime's CPU kernels sum float32 without parting: the error of a norm over n values grows with n. Measured for
onnxruntime 1.32 beside float64: 2.1e-6 over 16,384 values, 4.1e-6 over 65,536, 1.9e-5 over 262,144, 1.3e-4 over
1,048,576; PyTorch parts its sums and has 1e-6 at each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LARGE = 65_536
"""Up to so many values one step is kept: it is the faster one, and its error is that of a few additions."""

_FEW = 1_024
"""Of a constant that shape inference may read the values of: axes and sizes, not weights."""

Shapes = Mapping[str, Sequence[int]]


def inferred_values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Type and shape of every tensor of a graph, as far as shape inference finds them.

    Weights take part by their shapes alone: inference serialises a model, and copies it several times.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _FEW:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            light.graph.initializer.append(tensor)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    return [*inferred.input, *inferred.value_info, *inferred.output]


def inferred_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Of every float32 tensor its axes, 0 for one that is not known."""
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred_values(model)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.type.tensor_type.HasField("shape")
    }


def is_large(dims: Sequence[int]) -> bool:
    """Whether a sum over these axes is long, or may be: an axis of free size may have any."""
    return 0 in dims or math.prod(dims) > LARGE


def block_of(total: int) -> int:
    """The divisor of a number of values that is nearest to its square root; 1 or less than 16 where none is useful.

    Example:
        >>> block_of(1_048_576), block_of(3 * 512 * 512), block_of(65_537)
        (1024, 768, 1)
    """
    return next(block for block in range(math.isqrt(total), 0, -1) if total % block == 0)


class Constants:
    """The constants of a graph by name, and further ones for it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self.arrays: dict[str, NDArray[np.generic]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}

    def get(self, name: str) -> NDArray[np.generic] | None:
        """A constant by name; None for what is computed."""
        return self.arrays.get(name)

    def add(self, name: str, values: NDArray[np.generic]) -> str:
        """The name of a new constant of the graph."""
        self.arrays[name] = values
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def drop_unread(self) -> None:
        """Leave out of the graph what no node reads, and what was known of tensors between."""
        used = {name for node in self._graph.node for name in node.input}
        kept = [t for t in self._graph.initializer if t.name in used]
        del self._graph.initializer[:], self._graph.value_info[:]
        self._graph.initializer.extend(kept)
