"""The passes in the order they run: one sequence after tracing, one before the fp32 graphs ship."""

from __future__ import annotations

import onnx

from .batch_norm import fold_batch_norms
from .batch_reshape import make_reshapes_batch_free
from .clean import strip_and_name
from .fold import fold_constants
from .fourier import multiply_by_spectra
from .norms import norm_in_two_steps
from .reductions import reduce_in_two_steps
from .resizes import resize_by_factors
from .scalars import widen_scalars
from .upsampling import merge_upsampling


def clean_up(model: onnx.ModelProto, *, graph: str) -> onnx.ModelProto:
    """Fold constants and batch norms, write spectra as products, free reshapes and resizes of shape arithmetic.

    Scalars are widened, traces stripped, and weights named by content.

    The result computes what the traced graph computes; parity is measured on it afterwards.

    Raises:
        ExportFailed: a pass found something it cannot keep exact.
    """
    model = fold_constants(model, graph=graph)
    model = multiply_by_spectra(model)
    model = fold_batch_norms(model)
    model = make_reshapes_batch_free(model)
    model = resize_by_factors(model)
    model = widen_scalars(model)
    return strip_and_name(model, graph=graph)


def finish_fp32(model: onnx.ModelProto, *, graph: str) -> onnx.ModelProto:
    """A cleaned-up graph as the fp32 variant ships it.

    Upsampling is merged into convolutions, norms and sums over many values take two steps, and weights are named anew.
    Reduced variants start from the cleaned-up graph: some of them merge upsampling in their own way, and float16 loses
    more than one long sum does.

    Raises:
        ExportFailed: as ``clean_up``.
    """
    model = merge_upsampling(model)
    model = reduce_in_two_steps(model)
    model = norm_in_two_steps(model)
    return strip_and_name(model, graph=graph)
