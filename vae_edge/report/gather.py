"""What the page says: figures of rows that were judged, as plain values."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.evaluation import metrics
from vae_edge_runtime import VAE, Scores, arguments
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import CalibrationError, InputError
from vae_edge_runtime.text import counted

F64 = NDArray[np.float64]
Interval = tuple[float, float]
_ROWS_AT_ONCE = 256
_TIMED_CALLS, _TIMED_BATCH = 30, 32
_REPEATS = 500
_FEWEST_FOR_DRIFT = 30


@dataclass(frozen=True)
class Rate:
    """A share of rows with its exact 95 % interval."""

    hits: int
    rows: int
    interval: Interval

    @classmethod
    def of(cls, flags: NDArray[np.bool_]) -> Rate:
        """Of flags (n,)."""
        hits = int(flags.sum())
        return cls(hits, len(flags), metrics.binomial_interval(hits, len(flags)) if len(flags) else (0.0, 1.0))

    @property
    def share(self) -> float:
        """Hits per row; 0 without rows."""
        return self.hits / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Kind:
    """One kind of defect: how many were found, and how well scores tell it from normal rows."""

    name: str
    found: Rate
    auroc: float


@dataclass(frozen=True, eq=False)
class Labelled:
    """What labels add.

    Attributes:
        found, false: anomalies that were flagged, and normal rows that were.
        roc: (points, 2) false positive rate and recall. curve: (points, 2) recall and precision.
    """

    auroc: float
    auroc_interval: Interval
    average_precision: float
    found: Rate
    false: Rate
    kinds: tuple[Kind, ...]
    roc: F64
    curve: F64


@dataclass(frozen=True)
class Speed:
    """On this device: median time of one row, and rows per second in batches."""

    one_ms: float
    rows_per_s: float
    batch: int
    provider: str


@dataclass(frozen=True)
class Drift:
    """P-values of normal rows beside those of the calibration: they are uniform where nothing has drifted.

    Attributes:
        median: of the p-values; 0.5 where nothing has drifted.
        p_value: of the Kolmogorov-Smirnov test of uniform p-values.
    """

    rows: int
    median: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that was found about the rows.

    Attributes:
        score, p_value: (n,), NaN where a row was not scored; ``p_value`` is None without calibration.
        warning: why the threshold does not hold for these rows, or None.
        threshold_interval: 95 %, of the threshold, from how few calibration rows stand behind it.
        labels: (n,) bool, or None.
    """

    row_ids: tuple[str, ...]
    head: str
    score: F64
    p_value: F64 | None
    flagged: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    threshold: float | None
    warning: str | None
    threshold_interval: Interval | None
    labels: NDArray[np.bool_] | None
    anomalies: Rate
    labelled: Labelled | None
    speed: Speed
    drift: Drift | None

    def order(self) -> NDArray[np.intp]:
        """Scored rows, the highest score first."""
        scored = np.flatnonzero(self.ok)
        return np.asarray(scored[np.argsort(-self.score[scored], kind="stable")])

    def borderline(self, count: int) -> list[int]:
        """The scored rows whose scores are nearest to the threshold, by the ratio of both where it is positive.

        Args:
            count: of them, at most.
        """
        arguments.whole_number("count", count, low=0, high=sys.maxsize)
        if self.threshold is None:
            return []
        scored = np.flatnonzero(self.ok)
        distance = np.abs(self.score[scored] - self.threshold)
        return [int(i) for i in scored[np.argsort(distance, kind="stable")][:count]]


@checked
def find(
    vae: VAE,
    x: NDArray[Any],
    row_ids: Sequence[str],
    *,
    head: str | None = None,
    condition: NDArray[Any] | None = None,
    labels: NDArray[np.bool_] | None = None,
    kinds: NDArray[Any] | None = None,
    score: Callable[[NDArray[Any], Any], Scores] | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> Findings:
    """Score rows and gather what a report says about them.

    Args:
        vae: the session.
        x, condition: as ``VAE.score`` takes them.
        row_ids: a name per row.
        head: that decides; None: the bundle's own.
        labels: (n,), True for anomalies. kinds: (n,) names of kinds of anomaly.
        score: rows and condition to scores, in place of ``vae.score``.
        progress: called with the number of rows scored since the last call.

    Raises:
        InputError: there are no rows, or what stands beside them is not one per row. Further errors as ``VAE.score``.
    """
    if not len(x):
        raise InputError("x has no rows: a report is about rows")
    check_beside(len(x), row_ids=row_ids, condition=condition, labels=labels, kinds=kinds)
    decides = vae.heads[0] if head is None else head
    score = score or (lambda rows, given: vae.score(rows, condition=given, heads=(decides,)))
    parts = []
    for start in range(0, len(x), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        given = None if condition is None else condition[part]
        parts.append(score(np.ascontiguousarray(x[part]), given).decided_by(decides))
        progress(len(parts[-1]))
    values = np.concatenate([p.score for p in parts]).astype(np.float64)
    ok = np.concatenate([p.ok for p in parts])
    threshold = parts[0].threshold
    flagged = np.zeros(len(x), bool) if threshold is None else values > threshold
    p_value = np.concatenate([p.p_value for p in parts]) if parts[0].calibrated else None
    labelled = None if labels is None else _labelled(values[ok], flagged[ok], labels[ok], _of(kinds, ok))
    normal = ok if labels is None else ok & ~labels
    return Findings(
        row_ids=tuple(row_ids),
        head=decides,
        score=values,
        p_value=p_value,
        flagged=flagged,
        ok=ok,
        threshold=threshold,
        warning=next((p.warning for p in parts if p.warning), None),
        threshold_interval=_threshold_interval(vae, decides),
        labels=labels,
        anomalies=Rate.of(flagged[ok]),
        labelled=labelled,
        speed=_speed(vae, x, condition),
        drift=None if p_value is None else _drift(p_value[normal]),
    )


def check_beside(rows: int, **beside: Any) -> None:
    """Refuse what stands beside rows and is not one per row; None stands for nothing.

    Raises:
        InputError: the message names it.
    """
    for name, values in beside.items():
        if values is not None and len(values) != rows:
            raise InputError(f"{name} has {len(values)} for {counted(rows, 'row')}: pass one per row")


def _of(values: NDArray[Any] | None, chosen: NDArray[np.bool_]) -> NDArray[Any] | None:
    return None if values is None else values[chosen]


def _labelled(
    score: F64, flagged: NDArray[np.bool_], labels: NDArray[np.bool_], kinds: NDArray[Any] | None
) -> Labelled | None:
    """None where one kind of row is missing: there is nothing to rank."""
    if not 0 < labels.sum() < len(labels):
        return None
    ranking = metrics.ranking(score, labels)
    interval = metrics.bootstrap(score, labels, repeats=_REPEATS, seed=0).auroc
    order = np.argsort(-score, kind="stable")
    hits, misses = np.cumsum(labels[order]), np.cumsum(~labels[order])
    recall, false = hits / labels.sum(), misses / (~labels).sum()
    last = np.append(np.diff(score[order]) != 0, True)  # one point per score
    roc = np.vstack([[0.0, 0.0], np.stack([false[last], recall[last]], axis=1)])
    curve = np.stack([recall[last], hits[last] / (hits[last] + misses[last])], axis=1)
    by_kind = []
    for name in sorted(set(np.asarray(kinds)[labels].tolist())) if kinds is not None else ():
        own = labels & (np.asarray(kinds) == name)
        chosen = ~labels | own
        by_kind.append(Kind(str(name), Rate.of(flagged[own]), metrics.ranking(score[chosen], labels[chosen]).auroc))
    return Labelled(ranking.auroc, interval, ranking.average_precision, Rate.of(flagged[labels]),
                    Rate.of(flagged[~labels]), tuple(by_kind), roc, curve)  # fmt: skip


def _threshold_interval(vae: VAE, head: str) -> Interval | None:
    """Where the threshold would lie had other normal rows been drawn: of the rate, plus and minus two errors of it."""
    calibration = vae.calibrations.get(head)
    if calibration is None:
        return None
    rate, n = calibration.false_positive_rate, calibration.n / calibration.correlation_rows
    error = 1.96 * float(np.sqrt(rate * (1 - rate) / n))
    fewest = 1 / (calibration.n + 1)
    try:
        low = vae.threshold_for(min(0.999, rate + error), head=head)
        return low, vae.threshold_for(max(fewest, rate - error), head=head)
    except CalibrationError:
        return None


def _speed(vae: VAE, x: NDArray[Any], condition: NDArray[Any] | None) -> Speed:
    def seconds(rows: int, calls: int) -> float:
        given = None if condition is None else condition[:rows]
        batch = np.ascontiguousarray(x[:rows])
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            vae.score(batch, condition=given)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    batch = min(_TIMED_BATCH, len(x))
    seconds(1, 2)
    one, many = seconds(1, _TIMED_CALLS), seconds(batch, 5)
    return Speed(one * 1e3, batch / max(many, 1e-9), batch, str(vae.info))


def _drift(p_values: F64) -> Drift | None:
    """Kolmogorov-Smirnov against uniform p-values."""
    if len(p_values) < _FEWEST_FOR_DRIFT:
        return None
    ordered = np.sort(p_values)
    n = len(ordered)
    steps = np.arange(1, n + 1) / n
    distance = float(max((steps - ordered).max(), (ordered - (steps - 1 / n)).max()))
    root = np.sqrt(n)
    lam = (root + 0.12 + 0.11 / root) * distance  # Stephens 1970
    terms = np.arange(1, 101)
    p = 2 * np.sum((-1.0) ** (terms - 1) * np.exp(-2 * terms**2 * lam**2))
    return Drift(n, float(np.median(ordered)), float(np.clip(p, 0, 1)))
