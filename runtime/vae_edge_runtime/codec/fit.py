"""Tables from normal rows: ridge least squares and counts, in numpy alone. Only export and recalibrate fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contexts import predictions, sizes
from .rans import integer_frequencies
from .tables import FRACTIONS, HALF, MAX_SHIFT, SIZE_FEATURES, SYMBOLS, LatentTables, ResidualTables

I64 = NDArray[np.int64]

LAGS, REACH_WINDOW, REACH_TABLE = 3, 12, 64
"""Earlier steps and features before that predict; of a window fewer features, since they come twice."""
_ONE = 1 << 12
_BINS = 24
_MOST = 200_000
"""Elements that weights are fitted on, per feature."""
_RARE = 0.02
_MAX_SYMBOLS = 4096
MAX_TABLES = 1024
"""Of latents: where there are more dimensions than this, they share one."""


def latent_groups(shape: tuple[int, ...]) -> int:
    """Tables for latents of this shape: one per dimension of a flat latent, one per channel of a picture-like one."""
    return shape[0] if shape[0] <= MAX_TABLES else 1


def fit_latents(mean: NDArray[Any], std: NDArray[Any] | None, groups: int, scale: float) -> LatentTables:
    """Steps and tables of Gaussian or plain latents.

    Args:
        mean: (n, d). std: of the posterior, likewise; None of a plain autoencoder.
        groups: of neighbouring dimensions that share a table.
        scale: of the steps: larger ones cost fewer bytes and more error.
    """
    flat = mean.astype(np.float64).reshape(len(mean), groups, -1)
    if std is None:
        step = 0.25 * scale * np.maximum(flat.std(axis=(0, 2)), 1e-6)
    else:
        # What the posterior leaves open need not be sent: a dead dimension (variance 1) gets a step that never moves.
        variance = np.minimum(np.square(std.astype(np.float64)).reshape(flat.shape).mean(axis=(0, 2)), 0.9999)
        step = np.minimum(scale * np.sqrt(variance / (1 - variance)), 64.0)
    step = np.maximum(step, np.abs(flat).max(axis=(0, 2)) / (_MAX_SYMBOLS // 2 - 8))
    step = np.maximum(step, 1e-6).astype(np.float32)
    low, count, tables = [], [], []
    for j in range(groups):
        values, size = flat[:, j].ravel(), float(step[j])
        k = np.rint(values / size).astype(np.int64)
        high = max(int(np.abs(k).max()) + 2, 2)
        counts = np.bincount(k + high, minlength=2 * high + 1).astype(np.float64)
        spread = max(float(values.std()), 1e-3 * size)
        smooth = np.exp(-0.5 * np.square((np.arange(-high, high + 1) * size - values.mean()) / max(spread, 0.3 * size)))
        weights = counts + 20 * smooth / smooth.sum() + _RARE
        tables.append(integer_frequencies(np.append(weights, 2e-4 * weights.sum())[None])[0])
        low.append(-high)
        count.append(2 * high + 1)
    return LatentTables(step, np.array(low, np.int32), np.array(count, np.int32), np.concatenate(tables))


def fit_codes(indices: NDArray[np.int64], codebook: int) -> LatentTables:
    """One table for all indices (n, …) of a codebook."""
    counts = np.bincount(indices.ravel(), minlength=codebook).astype(np.float64) + 0.5
    freq = integer_frequencies(np.append(counts, 1e-5 * counts.sum())[None])[0]
    return LatentTables(np.zeros(1, np.float32), np.zeros(1, np.int32), np.array([codebook], np.int32), freq)


def fit_residual(
    numbers: I64, *, step: NDArray[np.float64], per_unit: NDArray[np.float64], centre: NDArray[np.int32]
) -> ResidualTables:
    """Weights, bins and tables of numbers (n, T, C) whose centre is taken off already."""
    count, lags = numbers.shape[2], min(LAGS, numbers.shape[1] - 1)
    reach = min(count - 1, REACH_WINDOW if lags else REACH_TABLE)
    x = np.ascontiguousarray(numbers.transpose(1, 2, 0))
    width = lags + reach * (2 if lags else 1) + 1
    fitted: dict[str, Any] = {
        "step": step, "per_unit": per_unit, "centre": centre, "lags": lags, "reach": reach,
        "weights": np.zeros((count, width), np.int32), "size_weights": np.zeros((count, SIZE_FEATURES), np.int32),
        "mean_size": np.zeros(x.shape[:2], np.int32), "edges": np.zeros(0, np.int32), "shift": np.zeros(1, np.uint8),
        "freq": np.zeros((FRACTIONS, SYMBOLS), np.int64),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    padded = np.zeros((x.shape[0] + 3, count + reach, x.shape[2]))
    padded[3:, reach:] = x
    for c in range(count):
        at = c + reach
        columns = [padded[3 - lag : len(padded) - lag, at] for lag in range(1, lags + 1)]
        columns += [padded[3:, at - b] for b in range(1, reach + 1)]
        columns += [padded[2:-1, at - b] for b in range(1, reach + 1)] if lags else []
        fitted["weights"][c] = _weights(columns, x[:, c], rng, constant=True)
    predicted = predictions(x, ResidualTables(**fitted)) + 4
    residual = x - (predicted >> 3)
    magnitude = np.minimum(np.abs(residual), 1 << 20)
    fitted["mean_size"] = np.clip(np.rint(magnitude.mean(axis=2) * 16), 1, 1 << 24).astype(np.int32)
    padded = np.zeros((x.shape[0] + 3, count + 2, x.shape[2]))
    padded[3:, 2:] = 16 * magnitude
    for c in range(count):
        own = np.broadcast_to(fitted["mean_size"][:, c, None].astype(np.float64), x[:, c].shape)
        columns = [own, *(padded[3 - lag : len(padded) - lag, c + 2] for lag in (1, 2, 3))]
        columns += [padded[3:, c + 2 - b] for b in (1, 2)]
        fitted["size_weights"][c] = _weights(columns, 16 * magnitude[:, c], rng, ridge=1e-3)
    size = sizes(residual, ResidualTables(**fitted))
    edges = np.unique(np.quantile(size, np.linspace(0, 1, _BINS + 1)[1:-1]).astype(np.int64))
    fitted["edges"] = np.minimum(edges, (1 << 31) - 1).astype(np.int32)
    bins = np.searchsorted(edges, size, side="right")
    fitted["shift"], fitted["freq"] = _counts(residual, bins, (predicted & 7) >> 1, len(edges) + 1)
    return ResidualTables(**fitted)


def _weights(
    columns: list[NDArray[Any]],
    wanted: NDArray[Any],
    rng: np.random.Generator,
    *,
    constant: bool = False,
    ridge: float = 1e-5,
) -> NDArray[np.int32]:
    """Whole weights, 2**12 is one, that give ``wanted`` from the columns."""
    y = wanted.ravel().astype(np.float64)
    some = rng.choice(len(y), _MOST, replace=False) if len(y) > _MOST else slice(None)
    design = np.stack([column.ravel()[some] for column in columns] + [np.ones_like(y[some])] * constant, axis=1)
    y = y[some]
    scale = np.sqrt(np.square(design).mean(axis=0)) + 1e-9
    design /= scale
    gram = design.T @ design / len(y)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), design.T @ y / len(y)) / scale
    whole: NDArray[np.int32] = np.clip(np.rint(weights * _ONE), -(1 << 30), 1 << 30).astype(np.int32)
    return whole


def _counts(residual: I64, bins: I64, fraction: I64, count: int) -> tuple[NDArray[np.uint8], I64]:
    """Shifts of the bins, and tables by bin and fraction, smoothed so that few rows give usable ones."""
    shifts, tables = np.zeros(count, np.uint8), []
    k = np.arange(-HALF, HALF + 1)
    for b in range(count):
        inside = bins == b
        values, parts = residual[inside], fraction[inside]
        spread = float(np.abs(values).mean()) if len(values) else 1.0
        shift = int(np.clip(np.floor(np.log2(max(spread, 1e-9) / 2.5)), 0, MAX_SHIFT))
        shifts[b] = shift
        symbol = np.clip((values >> shift) + HALF + 1, 0, SYMBOLS - 1)
        laplace = np.exp(-np.abs(k) * (1 << shift) / max(spread, 0.05))
        base = np.bincount(symbol, minlength=SYMBOLS) + 0.05
        base[1:-1] += 30 * laplace / laplace.sum()
        base /= base.sum()
        for part in range(FRACTIONS):
            tables.append(np.bincount(symbol[parts == part], minlength=SYMBOLS) + 40 * base)
    return shifts, integer_frequencies(np.array(tables))
