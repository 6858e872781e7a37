"""What raw rows must be before a model sees them, in training as in export."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae_edge_runtime.errors import InputError
from vae_edge_runtime.inputs import finite_rows
from vae_edge_runtime.manifest import Layout


def check_raw_rows(x: Any, what: str) -> None:
    """Raw rows are an array (n, *row_shape) of a dtype a bundle can take.

    Raises:
        InputError: no array, another dtype, or no row axes.
    """
    if not isinstance(x, np.ndarray) or x.ndim < 2 or x.dtype not in (np.uint8, np.float32):
        have = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise InputError(f"{what} is {have}; pass a numpy array (n, *row_shape) of uint8 or float32")


def check_finite(x: NDArray[Any], what: str) -> None:
    """Every row is finite.

    Raises:
        InputError: one is not; the message names the first.
    """
    bad = np.flatnonzero(~finite_rows(x))
    if len(bad):
        raise InputError(f"{what} row {bad[0]} holds NaN or infinity ({len(bad)} such rows): drop them first")


def check_unit_interval(x: Tensor) -> None:
    """Rows in model units suit a bernoulli likelihood.

    Raises:
        InputError: a value is outside [0, 1].
    """
    low, high = float(x.min()), float(x.max())
    if not 0.0 <= low <= high <= 1.0:
        raise InputError(
            f"likelihood 'bernoulli' needs values in [0, 1]; after (x - offset) / scale they reach from {low:g} to "
            f"{high:g}: set offset and scale, or take the mse or gaussian likelihood"
        )


def model_shape(row_shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Shape of one row in model layout: images channels first, anything else as it is."""
    return (row_shape[2], *row_shape[:2]) if layout == "nhwc" else row_shape
