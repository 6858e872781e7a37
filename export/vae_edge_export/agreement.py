"""How far two ways to run one model agree: scores, decisions, reconstructions, latents. Pure numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import InputError

F64 = NDArray[np.float64]

ROWS_LISTED = 20
"""Of the rows whose decisions differ: so many are named."""
WINDOW = 11
"""Pixels along a side of the window of ``ssim``."""
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True)
class ScoreAgreement:
    """Scores b of the same rows against scores a, the reference.

    Attributes:
        rows: scored by both; all figures but those of decisions are about them.
        scored_by_one: rows that only one of the two scored.
        correlation: Pearson's r. rank_correlation: Spearman's rho. NaN below 2 rows.
        error_max, error_p99: abs(a - b) relative to max(abs(a), rms of a), p99 as one of
            the errors, not between two; NaN without rows.
        decisions_differ: rows that one of the two calls an anomaly; None where a threshold is missing.
        agreement: share of all rows, scored or not, that both decide alike; None likewise.
        differing_rows: numbers of the first 20 of the rows that differ, from 0.
    """

    rows: int
    scored_by_one: int
    correlation: float
    rank_correlation: float
    error_max: float
    error_p99: float
    decisions_differ: int | None
    agreement: float | None
    differing_rows: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LatentError:
    """Posterior means b against a, over all rows and dimensions.

    Attributes:
        rows: that both encoded.
        max_absolute, rms: of b - a, in units of the latent.
        relative_rms: rms over the rms of a; infinite where a is all zero and b is not.
    """

    rows: int
    max_absolute: float
    rms: float
    relative_rms: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def score_agreement(
    a: NDArray[Any], b: NDArray[Any], threshold_a: float | None, threshold_b: float | None
) -> ScoreAgreement:
    """Compare scores (n,) of the same rows, each decided by its own threshold: an anomaly is above it.

    A row that was not scored is not finite, and no anomaly.

    Raises:
        InputError: the two are not (n,) of one length, or there is no row.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(f"scores of shapes {a.shape} and {b.shape}: pass one score per row, of the same rows")
    scored_a, scored_b = np.isfinite(a), np.isfinite(b)
    both = scored_a & scored_b
    ra, rb = a[both], b[both]
    relative = _relative_error(ra, rb)
    differ: NDArray[np.int64] | None = None
    if threshold_a is not None and threshold_b is not None:
        differ = np.flatnonzero((scored_a & (a > threshold_a)) != (scored_b & (b > threshold_b)))
    enough = len(ra) >= 2
    return ScoreAgreement(
        rows=len(ra),
        scored_by_one=int((scored_a != scored_b).sum()),
        correlation=_correlation(ra, rb) if enough else float("nan"),
        rank_correlation=rank_correlation(ra, rb) if enough else float("nan"),
        error_max=float(relative.max()) if len(ra) else float("nan"),
        error_p99=float(np.quantile(relative, 0.99, method="higher")) if len(ra) else float("nan"),
        decisions_differ=None if differ is None else len(differ),
        agreement=None if differ is None else 1.0 - len(differ) / len(a),
        differing_rows=() if differ is None else tuple(int(i) for i in differ[:ROWS_LISTED]),
    )


def psnr_db(x: NDArray[Any], y: NDArray[Any], peak: float) -> F64:
    """Peak signal-to-noise ratio of each row, 10 log10(peak² / mean squared error), in dB: (n, ...) twice to (n,).

    Infinite where two rows are equal. ``peak`` is the largest possible difference, in the unit of the rows.

    Raises:
        InputError: the shapes differ, or ``peak`` is not positive.
    """
    x, y = _pair(x, y, peak)
    error = np.square(x - y).reshape(len(x), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        found: F64 = 10.0 * np.log10(peak**2 / error)
    return found


def ssim(x: NDArray[Any], y: NDArray[Any], peak: float) -> F64:
    """Mean structural similarity of each pair of images: (n, c, h, w) twice to (n,), 1 where they are equal.

    Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, *Image quality assessment: from error visibility to
    structural similarity*, 2004: a Gaussian window of 11 x 11 and sigma 1.5, K1 0.01, K2 0.03, the window
    inside the image; then the mean over places and channels.

    Raises:
        InputError: the shapes differ, are no images of at least 11 x 11, or ``peak`` is not positive.
    """
    x, y = _pair(x, y, peak)
    if x.ndim != 4 or min(x.shape[2:]) < WINDOW:
        raise InputError(f"SSIM needs images (n, c, h, w) of at least {WINDOW} x {WINDOW} pixels, not {x.shape}")
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    a, b = _blur(x), _blur(y)
    var_a, var_b = np.maximum(_blur(x * x) - a * a, 0.0), np.maximum(_blur(y * y) - b * b, 0.0)
    covariance = _blur(x * y) - a * b
    found = (2 * a * b + c1) * (2 * covariance + c2) / ((a * a + b * b + c1) * (var_a + var_b + c2))
    similarity: F64 = found.reshape(len(x), -1).mean(axis=1)
    return similarity


def latent_error(mean_a: NDArray[Any], mean_b: NDArray[Any]) -> LatentError:
    """Compare posterior means (n, ...) of the same rows; rows that one did not encode (NaN) are left out.

    Raises:
        InputError: the shapes differ, or no row is encoded by both.
    """
    if mean_a.shape != mean_b.shape or not mean_a.size:
        raise InputError(f"latents of shapes {mean_a.shape} and {mean_b.shape} cannot be compared")
    flat_a = mean_a.reshape(len(mean_a), -1).astype(np.float64)
    flat_b = mean_b.reshape(len(mean_b), -1).astype(np.float64)
    both = np.isfinite(flat_a).all(axis=1) & np.isfinite(flat_b).all(axis=1)
    if not both.any():
        raise InputError("no row was encoded by both")
    difference = np.abs(flat_b[both] - flat_a[both])
    rms, size = _rms(difference), _rms(flat_a[both])
    relative = rms / size if size > 0 else 0.0 if rms == 0 else float("inf")
    return LatentError(int(both.sum()), float(difference.max()), rms, relative)


def _relative_error(reference: F64, found: F64) -> F64:
    """abs(difference) relative to max(abs(reference), its rms), (n,)."""
    if not len(reference):
        return reference
    difference = np.abs(found - reference)
    size = np.maximum(np.abs(reference), _rms(reference))
    return np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)


def _correlation(a: F64, b: F64) -> float:
    """Pearson's r; 1 where both are constant, 0 where one is."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if size == 0:
        return 1.0 if not (a.any() or b.any()) else 0.0
    return float((a * b).sum() / size)


def _rms(values: F64) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _pair(x: NDArray[Any], y: NDArray[Any], peak: float) -> tuple[F64, F64]:
    if x.shape != y.shape or not x.size:
        raise InputError(f"rows of shapes {x.shape} and {y.shape} cannot be compared")
    if not peak > 0:
        raise InputError(f"the peak is {peak}; pass the range of the rows' values, above 0")
    return x.astype(np.float64), y.astype(np.float64)


def _blur(images: F64) -> F64:
    """Gaussian mean around each place whose window lies inside: (n, c, h, w) to (n, c, h - 10, w - 10)."""
    steps = np.arange(WINDOW) - WINDOW // 2
    weight = np.exp(-0.5 * np.square(steps / _SIGMA))
    weight /= weight.sum()
    height, width = (side - WINDOW + 1 for side in images.shape[2:])
    across: F64 = np.sum([w * images[..., k : k + width] for k, w in enumerate(weight)], axis=0)
    down: F64 = np.sum([w * across[..., k : k + height, :] for k, w in enumerate(weight)], axis=0)
    return down


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties given their mean rank, (n,) float64."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's rho: Pearson's correlation of the ranks; 1 where both are constant."""
    ra, rb = ranks(a), ranks(b)
    ra, rb = ra - ra.mean(), rb - rb.mean()
    size = float(np.sqrt((ra * ra).sum() * (rb * rb).sum()))
    if size == 0:
        return 1.0 if bool((ra == 0).all() and (rb == 0).all()) else 0.0
    return float((ra * rb).sum() / size)


def auroc(scores: NDArray[Any], is_anomaly: NDArray[np.bool_]) -> float:
    """Probability that an anomaly scores above a normal row, ties count half (Mann & Whitney 1947).

    Raises:
        InputError: one of the two classes is empty.
    """
    positives = int(is_anomaly.sum())
    negatives = len(scores) - positives
    if positives == 0 or negatives == 0:
        raise InputError("evaluation labels need both normal (0) and anomalous (1) rows")
    rank_sum = float(ranks(scores)[is_anomaly].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
