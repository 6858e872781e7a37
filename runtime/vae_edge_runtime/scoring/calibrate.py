"""Calibration of every head from the outputs of normal rows: the exporter and ``recalibrate`` share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError
from ..format.heads import HEADS
from ..format.manifest import Calibration
from ..format.specs import ScoreSpec
from ..statistics.conformal import ScoreSketch, correlation_rows
from ..statistics.mahalanobis import LatentStatistics
from ..statistics.multiplicity import leave_one_out_p_values
from ..statistics.tail import TailFit
from .heads import Fitted, combine, head_scores

Method = Literal["conformal", "tail"]
F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The calibration of one variant.

    Attributes:
        by_head: what the manifest says. members: what it points at. fitted: what scoring needs.
        latent_statistics: member name, where there is a head ``mahalanobis``.
        warnings: in words, where a tail was asked for and could not be had.
    """

    by_head: dict[str, Calibration]
    members: dict[str, bytes]
    fitted: Fitted
    latent_statistics: str | None
    warnings: tuple[str, ...]


def calibrate(
    spec: ScoreSpec,
    outputs: Mapping[str, NDArray[Any]],
    *,
    prefix: str,
    false_positive_rate: float,
    method: Method = "conformal",
    threshold: float | None = None,
) -> Calibrated:
    """Fit statistics, sketches, tails and thresholds to the outputs of normal rows.

    Args:
        spec: of the model.
        outputs: by name, (n, ...) each: of the graphs ``score`` and ``sampled``.
        prefix: folder of the member names, the variant.
        false_positive_rate: what every threshold stands for.
        method: ``conformal``: a quantile of the scores. ``tail``: peaks over threshold, for rates that
            few rows cannot back; where the tail cannot be trusted a quantile, and a warning.
        threshold: of the default head, brought by the model.

    Raises:
        CalibrationError: too few rows for the rate, or a score that is not finite.
    """
    statistics = {HEADS[head].statistic for head in spec.heads}
    latent = LatentStatistics.fit(outputs["mean"]) if "latent_statistics" in statistics else None
    typical = float(np.mean(outputs["score"], dtype=np.float64)) if "typical_score" in statistics else None
    scores = head_scores(spec, spec.simple, outputs, Fitted(latent, typical, {}))
    for head in spec.computed("p_values"):
        scores[head] = combine(head, [leave_one_out_p_values(scores[part]) for part in spec.parts])
    by_head: dict[str, Calibration] = {}
    sketches: dict[str, ScoreSketch] = {}
    members: dict[str, bytes] = {}
    warnings: list[str] = []
    for head in spec.heads:
        try:
            sketches[head] = sketch = ScoreSketch.fit(scores[head])
        except CalibrationError as error:
            raise CalibrationError(f"head '{head}': {error}", needed=error.needed) from error
        member = f"{prefix}/calibration.bin" if head == spec.heads[0] else f"{prefix}/calibration-{head}.bin"
        members[member] = sketch.to_bytes()
        own = threshold if head == spec.heads[0] else None
        by_head[head], warning = _calibration(sketch, scores[head], member, false_positive_rate, method, own)
        warnings += [f"head '{head}': {warning}"] if warning else []
    latent_member = None
    if latent is not None:
        latent_member = f"{prefix}/latent.bin"
        members[latent_member] = latent.to_bytes()
    return Calibrated(by_head, members, Fitted(latent, typical, sketches), latent_member, tuple(warnings))


def _calibration(
    sketch: ScoreSketch, scores: F32, member: str, rate: float, method: Method, threshold: float | None
) -> tuple[Calibration, str | None]:
    """The manifest's entry of one head, and a warning where the method is not the one asked for."""
    tail: TailFit | None = None
    warning: str | None = None
    try:
        tail = TailFit.fit(scores)
    except CalibrationError as error:
        warning = str(error)

    def entry(source: Literal["conformal", "tail", "model"], rate: float, threshold: float) -> Calibration:
        return Calibration(
            n=sketch.n,
            false_positive_rate=min(rate, 1 - 1e-9),
            threshold=float(threshold),
            points=len(sketch.values),
            member=member,
            source=source,
            tail=tail,
            correlation_rows=min(correlation_rows(scores), float(sketch.n)),
        )

    if threshold is not None:
        return entry("model", sketch.rate_above(threshold), threshold), None
    if method == "tail" and tail is not None:
        try:
            return entry("tail", rate, tail.threshold(rate)), None
        except CalibrationError as error:
            warning = str(error)
    try:
        quantile = sketch.threshold(rate)
    except CalibrationError as error:
        why = f"; nor is there a tail to go by: {warning}" if method == "tail" else ""
        raise CalibrationError(f"{error}{why}", needed=error.needed) from error
    instead = f"{warning}: the threshold is a quantile instead" if method == "tail" else None
    return entry("conformal", rate, quantile), instead
