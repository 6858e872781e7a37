"""How far an artefact may be from PyTorch in float64: as far as float32 rounding reaches, and no further."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.verification import max_errors

ROUNDING_ROOM = 10.0
"""An engine sums and rounds in another order than PyTorch: so many times PyTorch's own loss is allowed."""

ILL_CONDITIONED = 1e-5
"""PyTorch's own float32 loses more than this, 170 times the last bit, only where numbers cancel. The KL of a posterior
near N(0, I) is such a case: 2.6e-5 nats are left of terms of size 1, and float32 PyTorch is 8e-4 of them from float64.
"""


def own_loss(single: NDArray[Any], exact: NDArray[Any]) -> float:
    """Largest relative difference of PyTorch's float32 output from its float64 one, as ``max_errors`` has it.

    Indices and uint8 have none: another index is another answer, however near the choice was.
    """
    return max_errors(single, exact)[1] if exact.dtype.kind == "f" else 0.0


def last_bits_moved(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same feeds in float64, with half of the values of the first, the rows, one 2^23th further from zero.

    How far an output moves with them is how far rounding at the first operation alone may carry it. Nothing moves
    towards zero: a code of a category that is cut to a whole number stays the same category.
    """
    name, *_ = feeds
    rows = feeds[name].astype(np.float64)
    moved = np.random.default_rng(0).integers(0, 2, size=rows.shape)
    return {**feeds, name: rows * (1 + moved * 2.0**-23)}


def allowed_relative(rtol: float, own: float) -> float:
    """Largest relative difference from float64 PyTorch that an output may show.

    Args:
        rtol: what well-conditioned outputs are held to.
        own: from ``own_loss``, of the same output on the same rows. One that is not finite allows nothing more: there
            PyTorch's float32 gives no number to follow.

    Example:
        >>> allowed_relative(1e-4, 3e-7), allowed_relative(1e-4, 8e-4)
        (0.0001, 0.008)
    """
    if not math.isfinite(own) or own <= ILL_CONDITIONED:
        return rtol
    return max(rtol, ROUNDING_ROOM * own)
