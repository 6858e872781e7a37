"""What to write in place of an operation that has no export, or an operator that no device runs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .rewrites import REWRITES
from .user_lines import bare_name

_NAMED = re.compile(r"No ONNX function found for <OpOverload\(op='(aten\.\w+)'")
_SIZES_FROM_VALUES = frozenset(
    "nonzero masked_select masked_scatter unique unique2 bincount pack_padded_sequence".split()  # noqa: SIM905
)
_OPERATIONS = {
    "pack_padded_sequence": "read the state at the last valid step instead of packing: h = self.rnn(x)[0], then "
    "torch.gather(h, 1, (length - 1).view(-1, 1, 1).expand(-1, 1, h.shape[2]))",
    "pad_packed_sequence": "run the layer on the padded rows, and mask its output with torch.where",
    "linalg_inv": "solve for a constant matrix once, and keep the inverse in a buffer; a matrix per row has no export",
    "linalg_inv_ex": "keep the inverse of a constant matrix in a buffer; of one matrix per row there is no export",
    "linalg_solve_ex": "keep the inverse of a constant matrix in a buffer, and multiply by it",
    "linalg_cholesky_ex": "keep the factor of a constant matrix in a buffer; of one matrix per row there is no export",
    "linalg_eigh": "project on eigenvectors of the training data, kept in a buffer",
    "linalg_svd": "project on singular vectors of the training data, kept in a buffer",
    "linalg_qr": "keep the factor of a constant matrix in a buffer",
    "linalg_matrix_exp": "keep the exponential of a constant matrix in a buffer",
    "linalg_det": "write the determinant out for small matrices, or keep that of a constant one in a buffer",
    "median": "give it an axis of a fixed size, x.median(dim=1); without an axis it mixes the rows of a batch",
    "nanmedian": "rows never hold NaN: use x.median(dim=1)",
    "mode": "use x.median(dim=1), or one-hot counts with argmax",
    "unique": "the number of results depends on values; count with one-hot vectors",
    "unique2": "the number of results depends on values; count with one-hot vectors",
    "nonzero": "the number of results depends on values: use torch.where(mask, a, b) on whole tensors",
    "masked_select": "the number of results depends on values: use torch.where(mask, a, b) on whole tensors",
    "masked_scatter": "use torch.where(mask, a, b) on whole tensors",
    "bincount": "use one-hot vectors and their sum",
    "histc": "use (edges <= x) comparisons and their sum",
    "i0": "use a polynomial of your own, or leave the Bessel function to preprocessing",
    "polygamma": "use torch.digamma and torch.lgamma, or leave it to the loss",
    "grid_sampler_2d": "resample with torch.nn.functional.interpolate or a fixed matrix",
    "fft_c2c": "use torch.fft.rfft of a fixed length",
    "fft_c2r": "use a matrix product with constant cosines and sines",
    "istft": "use a transposed convolution with constant cosines and sines",
}
"""By the bare name of the PyTorch operation."""

_OPERATORS = {
    "NonZero": "a selection by a mask has as many elements as values say: use torch.where(mask, a, b) on whole tensors",
    "Unique": "the number of results depends on values: count with one-hot vectors",
    "Compress": "a selection by a mask has as many elements as values say: use torch.where on whole tensors",
    "If": "a branch on values: use torch.where",
    "Loop": "a loop in the graph: write it out with a fixed number of steps, or as one operation on a tensor",
    "Scan": "a loop in the graph: write it out with a fixed number of steps, or as one operation on a tensor",
    "DFT": "a spectrum of a length that changes: cut or pad the rows to one length; then it becomes a matrix product",
    "STFT": "a spectrum of a length that changes: cut or pad the rows to one length; then it becomes a convolution",
    "GridSample": "resample with torch.nn.functional.interpolate, or by a fixed matrix",
    "MaxUnpool": "upsample with interpolate or a transposed convolution",
    "RoiAlign": "crop and resize with fixed sizes",
    "NonMaxSuppression": "leave the selection of boxes to the app",
    "Det": "write the determinant out, or keep that of a constant matrix in a buffer",
    "BitShift": "use a product with powers of two, and floor",
    "BitwiseAnd": "compare and combine as bool, with & between masks",
    "BitwiseOr": "compare and combine as bool, with | between masks",
    "BitwiseXor": "compare and combine as bool, with ^ between masks",
    "BitwiseNot": "compare and combine as bool, with ~ of a mask",
    "MeanVarianceNormalization": "use LayerNorm or GroupNorm: this one mixes the rows of a batch",
}
"""By the type of the ONNX operator."""

_ANYTHING_ELSE = "write it in other operations; arithmetic, comparisons, matrix products, convolutions, sorting work"


def remedies_for(lines: Mapping[str, str], text: str, *, on_values: bool) -> list[str]:
    """What to do about the operations of a model that have no export, each with its line.

    Args:
        lines: operation to line. text: what the exporter said; the operations it names are the ones.
        on_values: it said that something depends on values, so only what makes sizes depend on them is meant.
    """
    named = [] if on_values else [name for name in map(bare_name, _NAMED.findall(text)) if name in lines]
    suspects = _SIZES_FROM_VALUES if on_values else _OPERATIONS.keys() - REWRITES.keys()
    meant = dict.fromkeys(named or [name for name in lines if name in suspects])
    return [f"{name} at {lines[name]}: {_OPERATIONS.get(name, _ANYTHING_ELSE)}" for name in meant]


_ON_BATCH = re.compile(r"Expected op to be .* for batch|(?<!\w)batch\b.*(<=|>=|<|>|==|!=)", re.DOTALL)
BATCH_BRANCH = (
    "a Python branch on the number of rows, as in an estimate of memory that cuts a batch into pieces: the graph takes "
    "any number of rows, so turn that off before the export (a model's slicing or chunking option), or leave it to the "
    "caller, who passes fewer rows"
)


def is_branch_on_batch(text: str) -> bool:
    """Whether what the exporter said is about a condition on the number of rows."""
    return _ON_BATCH.search(text) is not None


def remedy_for(operator: str) -> str:
    """What to do about an ONNX operator that no device runs."""
    return _OPERATORS.get(operator, _ANYTHING_ELSE)
