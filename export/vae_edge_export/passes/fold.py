"""Evaluate what depends on constants only, with onnxscript's folder and onnx-ir's clean-up passes.

onnxscript's ``optimize()`` is not used: its rewrite rules take additions of 1e-8 and less for
additions of zero. Folding alone keeps them, and the count of arithmetic on activations is
compared before and after to hold it to that.
"""

from __future__ import annotations

from collections import Counter

import onnx
import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import Sequential, common

from vae_edge_runtime.errors import ExportFailed

_GUARDED = ("Add", "Sub", "Max", "Min", "Clip")


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
    after = _arithmetic_on_activations(result.model)
    if lost := before - after:
        raise ExportFailed(f"graph '{graph}': folding constants removed {dict(lost)}; please report this model")
    return ir.serde.serialize_model(result.model)


def _arithmetic_on_activations(model: ir.Model) -> Counter[str]:
    """Guarded float operations that depend on a graph input, by type."""
    dynamic: set[ir.Value] = set(model.graph.inputs)
    found: Counter[str] = Counter()
    for node in model.graph:
        if node.op_type == "Shape" or not any(value in dynamic for value in node.inputs if value is not None):
            continue
        dynamic.update(node.outputs)
        if node.op_type in _GUARDED:
            found[node.op_type] += 1
    return found
