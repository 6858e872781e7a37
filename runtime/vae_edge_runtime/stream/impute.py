"""Missing cells of a window, filled in by the VAE itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

ITERATIONS = 10
MOST_MISSING = 0.2
"""Share of a window's cells; beyond it there is too little left to go by."""


def impute(windows: F32, missing: NDArray[np.bool_], middle: NDArray[Any], reconstruct: Callable[[F32], F32]) -> F32:
    """Windows with their missing cells replaced by what the model expects there.

    Missing cells start at the last known value of their feature (else the middle of its range), and are
    replaced by their reconstruction ``ITERATIONS`` times, the observed cells staying as they are: the
    imputation of Donut (Xu et al., WWW 2018) at the posterior mean.

    Args:
        windows: (n, time, features); what missing cells hold does not matter.
        missing: the same shape. middle: (features,) or (1,) start value.
        reconstruct: (n, time, features) to the same.
    """
    filled = _carried_forward(windows, missing, middle)
    for _ in range(ITERATIONS):
        filled = np.where(missing, reconstruct(filled), windows).astype(np.float32)
    return filled


def _carried_forward(windows: F32, missing: NDArray[np.bool_], middle: NDArray[Any]) -> F32:
    steps = np.arange(windows.shape[1])[None, :, None]
    last_known = np.maximum.accumulate(np.where(missing, -1, steps), axis=1)
    carried = np.take_along_axis(windows, np.maximum(last_known, 0), axis=1)
    return np.where(last_known < 0, np.broadcast_to(middle, windows.shape), carried).astype(np.float32)
