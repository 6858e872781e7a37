"""Many p-values at once: which rows of a batch to name, and several heads in one score. Pure numpy.

Combinations take p-values in (0, 1], as conformal ones are; where a head has NaN, so has the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OptionError

F64 = NDArray[np.float64]


def benjamini_hochberg(p_values: F64, false_discovery_rate: float) -> NDArray[np.bool_]:
    """Rows to reject so that on average at most this share of the rejected ones is normal, (n,) bool.

    Benjamini & Hochberg, JRSS B 57, 1995: with p_(1) <= ... <= p_(m), all up to the largest k with
    p_(k) <= k / m * rate. Valid for conformal p-values from one calibration set (Bates et al. 2023).

    Args:
        p_values: (n,); NaN, a row that was not scored, is no discovery and does not count.
        false_discovery_rate: inside (0, 1).

    Raises:
        OptionError: the rate is not inside (0, 1). InputError: a p-value is outside [0, 1].
    """
    if not 0.0 < false_discovery_rate < 1.0:
        raise OptionError(f"a false discovery rate of {false_discovery_rate} is not inside (0, 1)")
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    ordered = np.sort(p[known])
    if ordered.size and not 0.0 <= ordered[0] <= ordered[-1] <= 1.0:
        raise InputError(f"p-values reach from {ordered[0]:g} to {ordered[-1]:g}; they lie in [0, 1]")
    fits = np.flatnonzero(ordered <= np.arange(1, ordered.size + 1) / max(1, ordered.size) * false_discovery_rate)
    limit = ordered[fits[-1]] if fits.size else -1.0
    with np.errstate(invalid="ignore"):
        return np.asarray(p <= limit)


def leave_one_out_p_values(scores: NDArray[np.float32]) -> F64:
    """p-value of each calibration score (n,) among the others: (1 + #{j != i: s_j >= s_i}) / n, (n,) float64."""
    ordered = np.sort(scores)
    return (len(scores) - np.searchsorted(ordered, scores, side="left")).astype(np.float64) / len(scores)


def fisher(p_values: F64) -> F64:
    """-2 sum ln p over heads: (n, heads) to (n,), larger is less normal (Fisher 1925).

    Heads see the same row and depend on each other, so it is no chi-squared: calibrate it like a score.
    """
    return np.asarray(-2.0 * np.log(p_values).sum(1))


def harmonic_mean(p_values: F64) -> F64:
    """Mean of 1 / p over heads, the inverse of their harmonic mean: (n, heads) to (n,) (Wilson, PNAS 2019).

    Hardly moved by how much heads depend on each other: one very small p-value carries it.
    """
    return np.asarray((1.0 / p_values).mean(1))


def mean_rank(p_values: F64) -> F64:
    """Mean of 1 - p over heads: (n, heads) to (n,); a vote in which no head can shout."""
    return np.asarray(1.0 - p_values.mean(1))
