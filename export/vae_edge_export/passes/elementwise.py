"""Operators that compute every element from the same element: they commute with what only moves elements."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

_OPERATORS = frozenset(
    """
    Abs Add Clip Div Elu Erf Exp HardSigmoid HardSwish LeakyRelu Mul Neg Relu Selu Sigmoid Softplus Sub Tanh
    """.split()  # noqa: SIM905 (as in onnx_ops)
)


def is_elementwise(
    node: onnx.NodeProto, inside: Collection[str], constants: Mapping[str, NDArray[np.generic]], *, axes: int
) -> bool:
    """Whether a node is elementwise over tensors of ``inside`` and constants that are alike at all places of an image.

    Args:
        axes: of an image; along the last so many a constant has size 1.
    """
    return node.op_type in _OPERATORS and all(
        name in inside or not name or (name in constants and set(constants[name].shape[-axes:]) <= {1})
        for name in node.input
    )
