"""From the outputs of a bundle's graphs to ``Scores``: heads, calibration, and rows that were not scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleInvalid, CalibrationError, OptionError
from ..format.heads import HEADS
from ..format.manifest import Calibration, Manifest, Variant
from ..statistics.conformal import ScoreSketch
from ..statistics.mahalanobis import LatentStatistics
from .heads import Fitted, head_scores, outputs_for, posterior_noise, with_parts
from .inputs import Status, all_finite
from .results import HeadScores, Scores

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[str, Arrays, Sequence[str]], list[NDArray[Any]]]


MAX_PLANS = 64
"""Kinds of call that are remembered; where callers ask in more ways than that, plans are worked out anew."""


class _Plan(NamedTuple):
    """What one kind of call computes, worked out once.

    Attributes:
        computed: heads, parts of ensembles among them. wanted: those in the result.
        outputs: of the graph ``score``. drawn: of the graph ``sampled``.
    """

    computed: tuple[str, ...]
    wanted: tuple[str, ...]
    outputs: tuple[str, ...]
    drawn: tuple[str, ...]


class Scorer:
    """The heads of one variant. What only some of them need is read when one is first asked for."""

    def __init__(self, manifest: Manifest, variant: Variant, read: Callable[[str], bytes]) -> None:
        """``read`` gives the verified bytes of a member of the bundle."""
        spec = manifest.score
        self.heads: tuple[str, ...] = tuple(dict.fromkeys((spec.default_head, *spec.heads)))
        self.manifest, self._variant, self._read = manifest, variant, read
        of_graph: dict[str, Calibration] = {spec.heads[0]: variant.calibration} if variant.calibration else {}
        calibrations: dict[str, Calibration] = of_graph | variant.channels
        self.calibrations = {head: calibrations[head] for head in self.heads if head in calibrations}
        default = self.heads[0] if self.heads[0] in calibrations else None
        self._sketches: dict[str, ScoreSketch] = {} if default is None else {default: self._sketch(default)}
        graph_alone = HEADS[self.heads[0]].computed in ("score", "sampled")
        self._by_graph = {(self.heads[0],)} if graph_alone else set()
        self._nothing_fitted = Fitted(None, None, self._sketches)
        self._plans: dict[tuple[tuple[str, ...], bool], _Plan] = {}

    def _sketch(self, head: str) -> ScoreSketch:
        calibration = self.calibrations[head]
        sketch = ScoreSketch.from_bytes(self._read(calibration.member), n=calibration.n)
        if not _stands_for_its_rate(calibration, sketch):
            raise BundleInvalid(
                f"head '{head}': a threshold of {calibration.threshold:g} is not what the calibration scores beside it "
                f"give for a false-positive rate of {calibration.false_positive_rate:g}"
            )
        return sketch

    @cached_property
    def fitted(self) -> Fitted:
        """Statistics and sketches of all heads."""
        member = self._variant.latent_statistics
        latent = LatentStatistics.from_bytes(self._read(member)) if member else None
        sketches = {head: self._sketches.get(head) or self._sketch(head) for head in self.calibrations}
        return Fitted(latent, self._variant.typical_score, sketches)

    def scores(
        self,
        run: Run,
        feeds: Arrays,
        status: NDArray[np.uint8],
        *,
        heads: Sequence[str],
        maps: bool,
        threshold: float | None,
    ) -> Scores:
        """Run what the heads need, and make of it one result; ``status`` (n,) is written to.

        Raises:
            OptionError: a head the bundle does not have, or a threshold that is no number.
            BackendError, SessionClosed: from ``run``.
        """
        if threshold is not None and not math.isfinite(threshold):
            raise OptionError(f"threshold is {threshold}; it must be a finite number, in the unit of the score")
        plan = self._plan(tuple(heads), maps)
        outputs = dict(zip(plan.outputs, run("score", feeds, plan.outputs), strict=True))
        if plan.drawn:
            noise = {"noise": posterior_noise(self.manifest.score, self.manifest.latent, len(status))}
            outputs |= zip(plan.drawn, run("sampled", {**feeds, **noise}, plan.drawn), strict=True)
        blank_bad_rows(list(outputs.values()), status)
        # The default head alone needs nothing that was fitted, if a graph computes it.
        fitted = self._nothing_fitted if plan.computed in self._by_graph else self.fitted
        by_head = head_scores(self.manifest.score, plan.computed, outputs, fitted)
        results = {
            head: self._result(head, by_head[head], fitted, threshold if head == self.heads[0] else None)
            for head in plan.wanted
        }
        default = results[self.heads[0]]
        return Scores(
            score=default.score,
            threshold=default.threshold,
            _sketch=default._sketch,
            reconstruction=outputs["reconstruction"],
            kl=outputs.get("kl"),
            status=status,
            heads=results,
            _map=outputs.get("map"),
        )

    def _result(self, head: str, score: NDArray[np.float32], fitted: Fitted, threshold: float | None) -> HeadScores:
        calibration, sketch = self.calibrations.get(head), fitted.sketches.get(head)
        if threshold is None and calibration is not None:
            threshold = calibration.threshold
        return HeadScores(score, threshold, sketch)

    def _plan(self, heads: tuple[str, ...], maps: bool) -> _Plan:
        plan = self._plans.get((heads, maps))
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            spec = self.manifest.score
            computed = with_parts(spec, (self.heads[0], *heads))
            parts = ("reconstruction", *(() if spec.kl_weight is None else ("kl",)), *(("map",) if maps else ()))
            plan = self._plans[heads, maps] = _Plan(
                computed=computed,
                wanted=tuple(head for head in self.heads if head in heads or head == self.heads[0]),
                outputs=tuple(dict.fromkeys((*outputs_for(spec, computed), *parts))),
                drawn=tuple(head for head in computed if head in spec.sampled),
            )
        return plan

    def threshold_for(self, rate: float, *, head: str | None, method: str) -> float:
        """The threshold of a head for another false-positive rate, from the same calibration rows.

        Raises:
            CalibrationError: the bundle has no calibration, or one that cannot back the rate.
            OptionError: the bundle does not have the head, or ``method`` is none.
        """
        head = self.heads[0] if head is None else head
        with_parts(self.manifest.score, (head,))
        if head not in self.calibrations:
            raise CalibrationError("this bundle carries no calibration: pass threshold=...")
        if method == "conformal":
            return self.fitted.sketches[head].threshold(rate)
        if method != "tail":
            raise OptionError(f"method is {method!r}; valid are conformal and tail")
        tail = self.calibrations[head].tail
        if tail is None:
            raise CalibrationError(
                f"the calibration rows of head '{head}' allow no fit of the tail (too few, or too wild): "
                "use method='conformal', or recalibrate with more rows"
            )
        return tail.threshold(rate)


def _stands_for_its_rate(calibration: Calibration, sketch: ScoreSketch) -> bool:
    """Whether the threshold follows from the scores as ``calibrate`` took it."""
    rate, threshold = calibration.false_positive_rate, calibration.threshold
    if calibration.source == "model":
        return math.isclose(rate, sketch.rate_above(threshold), rel_tol=1e-6)
    tail = calibration.tail if calibration.source == "tail" else None
    try:
        wanted = sketch.threshold(rate) if tail is None else tail.threshold(rate)
    except CalibrationError:
        return False
    return math.isclose(threshold, wanted, rel_tol=1e-6)


def blank_bad_rows(outputs: Sequence[NDArray[Any]], status: NDArray[np.uint8]) -> None:
    """Mark rows with a non-finite output, then set every output of every marked row to NaN (-1)."""
    if not np.count_nonzero(status) and all(map(all_finite, outputs)):
        return
    for output in outputs:
        finite = np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
        status[~finite & (status == Status.OK)] = Status.NON_FINITE_OUTPUT
    if status.any():
        for output in outputs:
            output[status != Status.OK] = np.nan if output.dtype.kind == "f" else -1
