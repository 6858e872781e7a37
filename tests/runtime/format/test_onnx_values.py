"""Constants of a stranger's graph are followed without a warning, whatever numbers they hold."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from tiny_bundle import X, model

from vae_edge_runtime import GraphRefused
from vae_edge_runtime.format.onnx_scan import scan
from vae_edge_runtime.format.onnx_values import _BINARY, _REDUCING, _UNARY, Node, evaluate, known

HOSTILE = (
    np.zeros((0, 3), np.float32), np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38, -0.0]), np.zeros(0, np.int64),
    np.int64([0, -(1 << 63), -1]), np.float16([6e4, -6e4, 0]), np.uint8([0, 255]), np.int8([-128, 127]),
    np.int32([-(1 << 31), 0]),
)  # fmt: skip
OPERATORS = sorted({*_BINARY, *_UNARY, *_REDUCING, "Div", "Mod", "Range", "Where"})


def scanned(op: str, arrays: tuple[Any, ...], **attributes: Any) -> None:
    constants = [numpy_helper.from_array(array, f"c{i}") for i, array in enumerate(arrays)]
    node = helper.make_node(op, [c.name for c in constants], ["y"], **attributes)
    with contextlib.suppress(GraphRefused):
        scan(model([node], (X,), (X,), constants).SerializeToString())


@pytest.mark.parametrize("op", OPERATORS)
def test_no_warning_comes_from_constants(op: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in HOSTILE:
            scanned(op, (array,))
            scanned(op, (array, array))
            scanned(op, (array, array[:1]))
            scanned(op, (array, np.int64([0])), keepdims=0)
            for kind in (1, 2, 3, 6, 7, 9, 10, 11):
                scanned("Cast", (array,), to=kind)


@pytest.mark.parametrize(("axes", "mean"), [(None, [[2.5]]), ([0], [[1.5, 2.5, 3.5]]), ([1], [[1.0], [4.0]])])
def test_a_mean_is_that_of_numpy(axes: list[int] | None, mean: list[list[float]]) -> None:
    x = np.float32([[0, 1, 2], [3, 4, 5]])
    node = Node("ReduceMean", [known(x)], 1, {}, 18)
    if axes is not None:
        node.inputs = [known(x), known(np.int64(axes))]
    result = evaluate(node, np.shape(mean), 1)
    assert result is not None
    np.testing.assert_array_equal(result, np.float32(mean))
