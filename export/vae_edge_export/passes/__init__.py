"""Graph clean-up between the exporter and the bundle: one pass per file, each exact."""

from __future__ import annotations

import onnx

from .batch_norm import fold_batch_norms
from .batch_reshape import make_reshapes_batch_free
from .clean import strip_and_name
from .fold import fold_constants
from .resizes import resize_by_factors
from .scalars import widen_scalars

__all__ = ["clean_up"]


def clean_up(model: onnx.ModelProto, *, graph: str) -> onnx.ModelProto:
    """Fold constants and batch norms, free reshapes and resizes of shape arithmetic, widen scalars, strip traces,
    name weights by content.

    The result computes what the traced graph computes; parity is measured on it afterwards.

    Raises:
        ExportFailed: a pass found something it cannot keep exact.
    """
    model = fold_constants(model, graph=graph)
    model = fold_batch_norms(model)
    model = make_reshapes_batch_free(model)
    model = resize_by_factors(model)
    model = widen_scalars(model)
    return strip_and_name(model, graph=graph)
