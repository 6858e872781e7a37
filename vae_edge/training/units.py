"""Which offset and scale bring raw rows to model units; numpy only."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vae_edge.models.config import LIKELIHOODS
from vae_edge_runtime import arguments
from vae_edge_runtime.errors import InputError
from vae_edge_runtime.format.specs import Layout


def default_units(x: NDArray[Any], layout: str, likelihood: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale for raw rows (n, *row_shape): model units are (x - offset) / scale.

    uint8: 0 and 255. float32 with a bernoulli likelihood: as they are. Other float32: mean and
    standard deviation per feature or channel, or of everything where the layout is ``any``.

    Args:
        x: (n, *row_shape) uint8 or float32 raw rows, n at least 1.
        layout: of the rows, as in ``ExportConfig``.
        likelihood: of the model, as in ``ModelConfig``.

    Raises:
        InputError: ``x`` is no array of rows of numbers.
        OptionError: layout or likelihood is not a valid one.
    """
    if not isinstance(x, np.ndarray) or not x.ndim or not x.size or x.dtype.kind not in "fiu":
        raise InputError(f"x is a {type(x).__name__} without rows of numbers; pass an array (n, *row_shape)")
    arguments.choice("layout", layout, get_args(Layout))
    arguments.choice("likelihood", likelihood, LIKELIHOODS)
    if x.dtype == np.uint8:
        return (0.0,), (255.0,)
    if likelihood == "bernoulli":
        return (0.0,), (1.0,)
    kept = {"nchw": 1, "any": None}.get(layout, x.ndim - 1)
    axes = tuple(axis for axis in range(x.ndim) if axis != kept)
    mean, std = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
    # A constant feature has no scale of its own; 1 keeps it at 0 in model units.
    std = np.where(std > 0, std, 1.0)
    return tuple(np.atleast_1d(mean).tolist()), tuple(np.atleast_1d(std).tolist())
