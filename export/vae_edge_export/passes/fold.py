"""Evaluate what depends on constants only, with onnxscript's folder and onnx-ir's clean-up passes.

onnxscript's ``optimize()`` is not used: its rewrite rules take additions of 1e-8 and less for
additions of zero. Folding alone keeps them. Arithmetic on activations is counted before and after to
hold it to that; where the counts differ, values decide: what gives the same result for every input
was a constant, however it was written (N - 1 in an unbiased variance, boundaries of a search).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
import onnx
import onnx_ir as ir
import onnxscript.optimizer
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import Sequential, common

from vae_edge_runtime.errors import ExportFailed

_GUARDED = ("Add", "Sub", "Max", "Min", "Clip")
_SHAPE_OF_FIRST = ("Shape", "Size", "EyeLike")
"""Operators whose result depends on the shape of their input, not on its values."""
_TYPE_OF_SECOND = ("CastLike",)
_ROWS = 3


def fold_constants(model: onnx.ModelProto, *, graph: str) -> onnx.ModelProto:
    """Fold constants, drop identities and dead nodes; activations keep every operation.

    Raises:
        ExportFailed: an addition, subtraction or clamp on activations disappeared.
    """
    converted = ir.serde.deserialize_model(model)
    before = _arithmetic_on_activations(converted)
    onnxscript.optimizer.fold_constants(converted, onnx_shape_inference=True)
    result = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
    )(converted)
    folded = ir.serde.serialize_model(result.model)
    lost = before - _arithmetic_on_activations(result.model)
    if lost and (lost := _varying(model, before) - _varying(folded, before)):
        raise ExportFailed(
            f"graph '{graph}': folding constants removed {dict(lost)}, which act on the input. This is a fault of the "
            "export: report the model, or write those steps in another form"
        )
    return folded


def _arithmetic_on_activations(model: ir.Model) -> Counter[str]:
    """Guarded float operations that depend on a graph input, by type."""
    dynamic: set[ir.Value] = set(model.graph.inputs)
    found: Counter[str] = Counter()
    for node in model.graph:
        operands = node.inputs[:1] if node.op_type in _TYPE_OF_SECOND else node.inputs
        if node.op_type in _SHAPE_OF_FIRST or not any(value in dynamic for value in operands if value is not None):
            continue
        dynamic.update(node.outputs)
        if node.op_type in _GUARDED and len(node.inputs) > 1:  # of one operand it is that operand
            found[node.op_type] += 1
    return found


def _varying(model: onnx.ModelProto, guarded: Collection[str]) -> Counter[str]:
    """Guarded operations whose result differs between inputs, by type: found by running the graph on several.

    The inputs hold zeros, ones, and draws of three sizes, so an addition of 1e-8 shows where it is one.
    """
    nodes = [node for node in model.graph.node if node.op_type in guarded and len(node.input) > 1]
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(node.output[0]) for node in nodes)
    evaluator = ReferenceEvaluator(probed)
    runs: list[list[NDArray[np.generic]]] = []
    for fill in _fills():
        feeds = {value.name: fill(value.type.tensor_type) for value in model.graph.input}
        with contextlib.suppress(Exception):  # an index out of range, on inputs that mean nothing
            runs.append([np.asarray(value) for value in evaluator.run(None, feeds)])
    if len(runs) < 2:
        return Counter(node.op_type for node in nodes)
    steady = [all(np.array_equal(run[i], runs[0][i], equal_nan=True) for run in runs) for i in range(len(nodes))]
    return Counter(node.op_type for node, same in zip(nodes, steady, strict=True) if not same)


def _fills() -> list[Callable[[onnx.TypeProto.Tensor], NDArray[np.generic]]]:
    """Makers of an input of a given type and shape; a batch has three rows."""

    def fill(make: Callable[[tuple[int, ...]], NDArray[np.float64]]) -> Callable[..., NDArray[np.generic]]:
        def of(tensor: onnx.TypeProto.Tensor) -> NDArray[np.generic]:
            shape = tuple(dim.dim_value or _ROWS for dim in tensor.shape.dim)
            return make(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))

        return of

    rng = np.random.default_rng(0)
    sizes = [fill(lambda shape, size=size: size * np.abs(rng.normal(size=shape))) for size in (1e-6, 1.0, 50.0)]  # type: ignore[misc]
    return [fill(np.zeros), fill(np.ones), *sizes]
