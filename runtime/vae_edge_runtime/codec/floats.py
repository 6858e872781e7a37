"""The one place where floats become whole numbers and whole numbers become floats.

A receiver's decoder may differ from the sender's by ``margin``: steps are made for the bound less the margin, so that
every value stays within the bound. Nothing that is entropy-coded depends on a float of the receiver.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contexts import LARGEST
from .tables import LatentTables, ResidualTables

MARGIN = 1e-5
"""Of the largest value of a feature at calibration; fp32 engines differed by 1e-6 of it at most."""
_RANGE = 4.0
"""Times that largest value: a row beyond is stored as it is, since engines differ by more there."""
CHECKS = 16
I64 = NDArray[np.int64]


def latent_symbols(latents: NDArray[Any], tables: LatentTables, groups: NDArray[np.intp]) -> I64:
    """Latents (n, d) to whole numbers; indices of a codebook are whole already. Only the sender rounds."""
    if latents.dtype.kind == "i":
        return latents.astype(np.int64)
    scaled = latents.astype(np.float64) / tables.step.astype(np.float64)[groups]
    return np.clip(np.rint(scaled), -LARGEST, LARGEST).astype(np.int64)


def latent_values(symbols: I64, tables: LatentTables, groups: NDArray[np.intp]) -> NDArray[Any]:
    """What the decoder is fed: one multiplication in float32, the same on every machine."""
    if not tables.step.any():
        return symbols
    with np.errstate(over="ignore"):
        return symbols.astype(np.float32) * tables.step[groups]


def as_windows(x: NDArray[Any]) -> NDArray[np.float64]:
    """Rows as (n, steps, features) float64; a table row has one step."""
    return x.astype(np.float64).reshape(len(x), -1, x.shape[-1])


def numbers_of(
    x: NDArray[Any], x_hat: NDArray[Any] | None, tables: ResidualTables, limit: NDArray[np.float64]
) -> tuple[I64, NDArray[np.bool_]]:
    """What is coded of finite rows, (n, T, C), and which rows (n,) it brings back as promised.

    Args:
        x: (n, *row_shape). x_hat: likewise, of the decoder; None where no network predicts.
        limit: (C,) largest error: the bound, less the margin where a network predicts values on no grid; of an exact
            mode 0.
    """
    rows = as_windows(x)
    predicted: Any = 0.0 if x_hat is None else as_windows(x_hat)
    with np.errstate(over="ignore", invalid="ignore"):
        grid = tables.per_unit if tables.gridded else 1.0
        wanted = np.rint(rows * grid) if tables.gridded else rows
        scaled = np.rint((wanted - predicted * grid) / tables.step) - tables.centre
        fits = (np.abs(scaled) <= LARGEST).all(axis=(1, 2))  # a comparison with NaN is False
        if tables.gridded:  # the promise is made for values on the grid
            fits &= (as_windows(cast(wanted / grid, x.dtype)) == rows).all(axis=(1, 2))
        numbers = np.where(fits[:, None, None], scaled, 0.0).astype(np.int64)
        errors = np.abs(as_windows(rows_of(numbers, x_hat, tables, x.shape[1:], x.dtype)) - rows)
        fits = np.logical_and(fits, (errors <= limit).all(axis=(1, 2)))
    return numbers, fits


def rows_of(
    numbers: I64, x_hat: NDArray[Any] | None, tables: ResidualTables, shape: tuple[int, ...], dtype: Any
) -> NDArray[Any]:
    """Rows (n, *shape) again."""
    predicted: Any = 0.0 if x_hat is None else as_windows(x_hat)
    with np.errstate(over="ignore", invalid="ignore"):
        if tables.gridded:
            whole = np.rint((numbers + tables.centre) * tables.step + predicted * tables.per_unit)
            rows = whole / tables.per_unit
        else:
            rows = predicted + (numbers + tables.centre) * tables.step
        return cast(rows, dtype).reshape(len(numbers), *shape)


def cast(rows: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Floats as values of a row's dtype: rounded and clipped where that is whole numbers."""
    if np.dtype(dtype).kind != "f":
        info = np.iinfo(dtype)
        rows = np.clip(np.rint(rows), info.min, info.max)
    return rows.astype(dtype)


def within_range(x_hat: NDArray[Any], margin: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows (n,) of a decoder are no larger than what the margin was made for."""
    return np.asarray((np.abs(as_windows(x_hat)) <= _RANGE / MARGIN * margin).all(axis=(1, 2)))


def check_values(x_hat: NDArray[Any]) -> NDArray[np.float32]:
    """Sixteen values of the decoder's output, by which a receiver finds that its decoder is another."""
    flat = x_hat.reshape(-1)
    return flat[_check_places(flat.size)].astype(np.float32)


def check_margins(size: int, margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each of ``check_values`` may differ by, of an output of ``size`` elements."""
    return margin[_check_places(size) % len(margin)]


def _check_places(size: int) -> NDArray[np.int64]:
    return np.arange(CHECKS, dtype=np.int64) * max(size - 1, 0) // (CHECKS - 1)
