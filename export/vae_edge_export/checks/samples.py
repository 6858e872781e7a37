"""Whether a model generates: rows decoded from the prior are finite, and differ from each other.

Parity says that a bundle computes what the model computes. A decoder whose weights were never loaded, or that ignores
its latent, passes parity too: nothing that is sampled with it is of any use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import FitFailed
from vae_edge_runtime.format.figures import SampleFigures
from vae_edge_runtime.text import counted

Array = NDArray[Any]

DRAWN = 64
_CONSTANT = 1e-6
"""Spread of samples over their size, below which they are one and the same row: float32 has seven digits."""
_FAR = 10.0
"""Times that the spread of samples may differ from the spread of rows before a warning says so."""


def measure_samples(samples: Array, rows: Array | None) -> SampleFigures:
    """Range and spread of samples, beside the spread of rows that were given.

    Args:
        samples: (n, *row_shape) in data units, finite. rows: (m, *row_shape); None or a single row: no spread to tell.
    """
    rows_spread = None if rows is None or len(rows) < 2 else _spread(rows)
    return SampleFigures(len(samples), float(samples.min()), float(samples.max()), _spread(samples), rows_spread)


def refuse_useless(samples: Array, *, allowed: bool) -> None:
    """Nothing, where samples are finite and differ.

    Args:
        samples: (n, *row_shape). allowed: the user exports a poor model all the same.

    Raises:
        FitFailed: a sample is not finite; or all are one and the same row, and that is not allowed.
    """
    bad = np.flatnonzero(~np.isfinite(samples).reshape(len(samples), -1).all(axis=1))
    if len(bad):
        raise FitFailed(
            f"{len(bad)} of {counted(len(samples), 'row')} sampled from the prior hold NaN or "
            "infinity: look at divisions and "
            "exponentials in the decoder, check that the trained weights are loaded, or pass another prior. Nothing "
            "was written"
        )
    size = float(np.abs(samples.astype(np.float64)).max())
    if _are_one_row(_spread(samples), size) and not allowed:
        raise FitFailed(
            f"{counted(len(samples), 'row')} sampled from the prior are all the same row: the "
            "decoder ignores its latent. Check "
            "that the trained weights are loaded (--weights). To export it all the same, allow a poor fit "
            "(--allow-poor-fit). Nothing was written"
        )


def sample_warnings(figures: SampleFigures) -> list[str]:
    """What to know of samples before they are used."""
    warnings = []
    size = max(abs(figures.low), abs(figures.high))
    if _are_one_row(figures.spread, size):
        warnings.append("rows sampled from the prior are all the same row")
    elif figures.rows_spread:
        ratio = figures.spread / figures.rows_spread
        if not 1 / _FAR <= ratio <= _FAR:
            warnings.append(
                f"rows sampled from the prior spread {ratio:.2g} times as far as the rows that were given: look at "
                "some of them (vae-edge sample), at the prior, and at offset and scale"
            )
    return warnings


def _are_one_row(spread: float, size: float) -> bool:
    return spread <= _CONSTANT * max(size, 1e-30)


def _spread(rows: Array) -> float:
    """Standard deviation of an element over rows, root mean square over elements."""
    return float(np.sqrt(rows.astype(np.float64).var(axis=0).mean()))
