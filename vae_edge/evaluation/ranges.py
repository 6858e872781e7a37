"""Decisions over time against labelled stretches of it: ranges, events, points.

Labels and decisions are (n,) of 0 and 1, one per time step, in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import arguments
from vae_edge_runtime.errors import InputError, OptionError

from .metrics import Flags, check_labels, decisions, ratio

Cardinality = Literal["one", "reciprocal"]
Bias = Literal["flat", "front", "back"]

FLATTERY = (
    "point-adjusted F1 flatters: one lucky step counts for a whole event, and random scores come out well "
    "(Kim et al., AAAI 2022); judge by the range-based figures"
)


@dataclass(frozen=True)
class RangeOptions:
    """How an overlap of two ranges is rewarded (Tatbul et al., NeurIPS 2018, section 4).

    Attributes:
        alpha: weight of finding an event at all, beside how much of it; recall only.
        cardinality: ``reciprocal`` divides by the number of ranges that an event is found in,
            ``one`` does not mind.
        bias: which part of an event counts most, recall only: ``front`` rewards early detection.
    """

    alpha: float = 0.0
    cardinality: Cardinality = "reciprocal"
    bias: Bias = "flat"

    def __post_init__(self) -> None:
        if not 0 <= arguments.number("alpha", self.alpha) <= 1:
            raise OptionError(f"alpha is {self.alpha}; it is a weight between 0 and 1")
        for name, value, valid in (
            ("cardinality", self.cardinality, get_args(Cardinality)),
            ("bias", self.bias, get_args(Bias)),
        ):
            arguments.choice(name, value, valid)


@dataclass(frozen=True)
class PrecisionRecall:
    """Both, and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """0 where nothing was found, whether or not anything was flagged."""
        return 2 * self.precision * self.recall / (self.precision + self.recall) if self.recall > 0 else 0.0


@dataclass(frozen=True)
class RangeFigures:
    """One head over time; the three precisions and recalls are three definitions, not to be mixed.

    Attributes:
        steps: time steps; not_scored: those of them without a score, which count as not flagged.
        events: labelled stretches; events_found: those with at least one flagged step.
        alarms: flagged stretches; false_alarms: those that touch no event.
        range_based: Tatbul et al., NeurIPS 2018.
        point_wise: every step for itself.
        point_adjusted: as point-wise, after every step of a found event was counted as flagged
            (Xu et al., WWW 2018): see ``FLATTERY``.
    """

    steps: int
    not_scored: int
    events: int
    events_found: int
    alarms: int
    false_alarms: int
    range_based: PrecisionRecall
    point_wise: PrecisionRecall
    point_adjusted: PrecisionRecall

    @property
    def event_recall(self) -> float:
        """Share of events with at least one flagged step."""
        return ratio(self.events_found, self.events)


def intervals(flags: Any) -> NDArray[np.int64]:
    """Stretches of ones as half-open (start, stop) pairs, (k, 2).

    Raises:
        InputError: other values than 0 and 1, or more than one axis.

    >>> intervals([0, 1, 1, 0, 1]).tolist()
    [[1, 3], [4, 5]]
    """
    values = np.asarray(flags)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise InputError(f"flags of shape {values.shape} are no sequence of 0 and 1")
    edges = np.diff(np.concatenate([[0], values.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def range_recall(labels: Any, flagged: Any, options: RangeOptions) -> float:
    """Mean over events of alpha * existence + (1 - alpha) * overlap (Tatbul et al. 2018, equations 3 to 6)."""
    flagged = np.asarray(flagged, dtype=bool)
    rewards = [
        options.alpha * flagged[start:stop].any()
        + (1 - options.alpha) * _overlap(flagged[start:stop], options.cardinality, options.bias)
        for start, stop in intervals(labels)
    ]
    return ratio(float(sum(rewards)), len(rewards))


def range_precision(labels: Any, flagged: Any, options: RangeOptions) -> float:
    """Mean over flagged ranges of their overlap with events (equations 7 and 8); NaN where none is flagged.

    The bias is flat: no part of a false alarm is better than another.
    """
    labels = np.asarray(labels, dtype=bool)
    rewards = [_overlap(labels[start:stop], options.cardinality, "flat") for start, stop in intervals(flagged)]
    return ratio(float(sum(rewards)), len(rewards))


def _overlap(hit: Flags, cardinality: Cardinality, bias: Bias) -> float:
    """Weighted share of one range that is hit, divided by the number of pieces where that is asked for."""
    place = np.arange(1, len(hit) + 1)
    weight = {"flat": np.ones(len(hit)), "back": place, "front": place[::-1]}[bias]
    share = float(weight[hit].sum() / weight.sum())
    pieces = len(intervals(hit))
    return share / pieces if cardinality == "reciprocal" and pieces > 1 else share


def point_adjust(labels: Any, flagged: Any) -> Flags:
    """Decisions with every step of a found event flagged (Xu et al., WWW 2018); see ``FLATTERY``."""
    adjusted: Flags = np.array(flagged, dtype=bool)
    for start, stop in intervals(labels):
        adjusted[start:stop] = adjusted[start:stop].any()
    return adjusted


def range_figures(labels: Any, flagged: Any, options: RangeOptions, *, not_scored: int = 0) -> RangeFigures:
    """All figures over time of one head's decisions.

    Raises:
        InputError: lengths differ, there is no event or nothing but events, or values are not 0 and 1.
    """
    labels = check_labels(labels, len(flagged))
    flagged = np.asarray(flagged, dtype=bool)
    alarms = intervals(flagged)
    events = intervals(labels)
    points, adjusted = decisions(flagged, labels), decisions(point_adjust(labels, flagged), labels)
    return RangeFigures(
        steps=len(labels),
        not_scored=not_scored,
        events=len(events),
        events_found=sum(bool(flagged[start:stop].any()) for start, stop in events),
        alarms=len(alarms),
        false_alarms=sum(not labels[start:stop].any() for start, stop in alarms),
        range_based=PrecisionRecall(range_precision(labels, flagged, options), range_recall(labels, flagged, options)),
        point_wise=PrecisionRecall(points.precision, points.recall),
        point_adjusted=PrecisionRecall(adjusted.precision, adjusted.recall),
    )
