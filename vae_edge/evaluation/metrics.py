"""Figures of scores (n,) against labels (n,), 1 for an anomaly: how well they rank, and how well they decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import arguments
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import InputError, OptionError

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]
Interval = tuple[float, float]

LEVEL = 0.95
"""Of all intervals."""
FEWEST_REPEATS = 100
_MOST_REPEATS = 10**7
_TRUE_POSITIVE_RATE = 0.95


@dataclass(frozen=True)
class Ranking:
    """How well scores put anomalies above normal rows, whatever the threshold.

    Attributes:
        auroc: probability that an anomaly scores above a normal row, ties count half.
        average_precision: mean precision over the recalls that the scores reach; also called AUPR.
        fpr_at_95_tpr: smallest false positive rate of a threshold that finds 95 % of the anomalies.
    """

    auroc: float
    average_precision: float
    fpr_at_95_tpr: float


@dataclass(frozen=True)
class RankingIntervals:
    """Bootstrap intervals, 95 %, of the figures of the same name."""

    auroc: Interval
    average_precision: Interval


@dataclass(frozen=True)
class Decisions:
    """What one threshold makes of labelled rows: counts, and the rates that follow from them."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of flagged rows that are anomalies; NaN where none is flagged."""
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of anomalies that are flagged; NaN where there is none."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall."""
        twice_the_hits = 2 * self.true_positives
        return ratio(twice_the_hits, twice_the_hits + self.false_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float:
        """Share of normal rows that are flagged; NaN where there is none."""
        return ratio(self.false_positives, self.false_positives + self.true_negatives)


def ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN, for "undefined", where ``whole`` is 0."""
    return part / whole if whole else float("nan")


def check_labels(labels: Any, n: int) -> Flags:
    """Labels as (n,) bool.

    Raises:
        InputError: another number of them, other values than 0 and 1, or one class is empty.
    """
    values = np.asarray(labels)
    if values.shape != (n,):
        raise InputError(f"labels have shape {values.shape} for {n} rows: pass one label per row")
    if not np.isin(values, (0, 1)).all():
        raise InputError("labels hold other values than 0 (normal) and 1 (anomaly): pass labels == YOUR_ANOMALY")
    flags: Flags = values.astype(bool)
    if not 0 < flags.sum() < n:
        missing = "anomalous (1)" if not flags.any() else "normal (0)"
        raise InputError(f"there is no {missing} row among {n}: an evaluation needs both kinds")
    return flags


def check_scored(scores: Any, labels: Any) -> tuple[F64, Flags]:
    """Scores as (n,) float64 and labels as (n,) bool.

    Raises:
        InputError: lengths differ, a score is not finite, or what ``check_labels`` refuses.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores have shape {values.shape}: pass one number per row")
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise InputError(f"{count} scores are NaN or infinite: leave out the rows whose status is not ok")
    return values, check_labels(labels, len(values))


def ranking(scores: Any, labels: Any) -> Ranking:
    """The figures that need no threshold.

    AUROC: Hanley & McNeil, Radiology 1982. Average precision: sum over thresholds of
    (R_k - R_{k-1}) P_k, not interpolated (Davis & Goadrich, ICML 2006, say why not).

    Raises:
        InputError: see ``check_scored``. MissingDependency: scikit-learn is not installed.
    """
    scores, labels = check_scored(scores, labels)
    sklearn = require("sklearn.metrics", extra="evaluate", why="evaluating")
    false_rate, true_rate, _ = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    return Ranking(
        auroc=float(sklearn.roc_auc_score(labels, scores)),
        average_precision=float(sklearn.average_precision_score(labels, scores)),
        fpr_at_95_tpr=float(false_rate[np.argmax(true_rate >= _TRUE_POSITIVE_RATE)]),
    )


def decisions(flagged: Any, labels: Any) -> Decisions:
    """Counts of decisions (n,) against labels.

    Raises:
        InputError: lengths differ, or what ``check_labels`` refuses.
    """
    flagged = np.asarray(flagged, dtype=bool)
    labels = check_labels(labels, len(flagged))
    return Decisions(
        true_positives=int((flagged & labels).sum()),
        false_positives=int((flagged & ~labels).sum()),
        false_negatives=int((~flagged & labels).sum()),
        true_negatives=int((~flagged & ~labels).sum()),
    )


def binomial_interval(hits: int, trials: int) -> Interval:
    """Exact 95 % interval of a rate (Clopper & Pearson, Biometrika 1934): it never covers less than it says.

    Raises:
        MissingDependency: scipy, which scikit-learn brings, is not installed.
    """
    stats = require("scipy.stats", extra="evaluate", why="evaluating")
    interval = stats.binomtest(hits, trials).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def bootstrap(scores: Any, labels: Any, *, repeats: int, seed: int) -> RankingIntervals:
    """95 % percentile intervals (Efron, Annals of Statistics 1979), rows drawn within each class.

    Args:
        scores, labels: (n,) each.
        repeats: resamples, at least 100.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        OptionError: too few repeats, or a negative seed. InputError: see ``check_scored``.
    """
    scores, labels = check_scored(scores, labels)
    check_bootstrap(repeats, seed)
    values, place = np.unique(scores, return_inverse=True)
    normal, anomalous = place[~labels], place[labels]
    rng = np.random.default_rng(seed)
    figures = np.empty((repeats, 2))
    for row in figures:
        row[:] = _ranking_of_counts(*(
            np.bincount(part[rng.integers(len(part), size=len(part))], minlength=len(values))
            for part in (normal, anomalous)
        ))  # fmt: skip
    (low_a, low_p), (high_a, high_p) = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return RankingIntervals((float(low_a), float(high_a)), (float(low_p), float(high_p)))


def check_bootstrap(repeats: int, seed: int) -> None:
    """Refuse what ``bootstrap`` cannot do, before any work is done.

    Raises:
        OptionError: too few repeats, or a negative seed.
    """
    if arguments.whole_number("bootstrap", repeats, low=0, high=_MOST_REPEATS) < FEWEST_REPEATS:
        raise OptionError(f"{repeats} bootstrap repeats are too few for an interval: pass at least {FEWEST_REPEATS}")
    arguments.whole_number("seed", seed, low=0)


def _ranking_of_counts(normal: NDArray[np.int64], anomalous: NDArray[np.int64]) -> tuple[float, float]:
    """AUROC and average precision from counts per distinct score, ascending.

    The same figures as ``ranking``, without the sort that dominates it: a resample changes counts only.
    """
    normals, anomalies = normal.sum(), anomalous.sum()
    below = np.cumsum(normal) - normal
    auroc = (anomalous * (below + normal / 2)).sum() / (normals * anomalies)
    hits = np.cumsum(anomalous[::-1])
    flagged = hits + np.cumsum(normal[::-1])
    precision = hits / np.maximum(flagged, 1)
    return float(auroc), float((anomalous[::-1] * precision).sum() / anomalies)
