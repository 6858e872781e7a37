"""Thresholds for rates that few calibration rows cannot back: a distribution for the largest scores.

Peaks over threshold: whatever scores are distributed like, their excesses over a high level are close to
a generalised Pareto distribution (Pickands 1975; Balkema & de Haan 1974). Siffer et al., "Anomaly
detection in streams with extreme value theory", KDD 2017, use it for thresholds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError
from ..record import record
from .conformal import whole_inverse

FEWEST_EXCESSES = 50
FEWEST_ROWS = 10 * FEWEST_EXCESSES
_TAIL_SHARE = 0.02
_WILDEST_SHAPE = 0.5
"""Beyond it the variance is infinite, and the estimator below is no longer reliable (Hosking & Wallis 1987)."""
_WORST_FIT = 1.0
"""Kolmogorov-Smirnov statistic times sqrt(excesses): its 1 % point for parameters fitted to the same excesses, measured
for 50 to 1,000 of them and shapes from -0.3 to 0.3 (0.94 to 1.05). That of known parameters, 1.63, refuses nothing."""
_REACH = 20
"""How far below 1 / n a rate may lie. There the median is right within a factor of 2 (measured, 500 normal scores), and
one fit in ten is off by 20 to 40."""


@record(frozen=True)
class TailFit:
    """A generalised Pareto distribution of the scores above a level.

    P(score > level + y) = (excesses / n) (1 + shape y / scale)^(-1 / shape) for y > 0.

    Attributes:
        level: in the unit of the score. shape: gamma; above 0 heavier than exponential. scale: sigma, like level.
        excesses: calibration scores above the level, of n.
    """

    level: float
    shape: float
    scale: float
    excesses: int
    n: int

    def __post_init__(self) -> None:
        good = 0 < self.excesses <= self.n and self.scale > 0 and self.shape <= _WILDEST_SHAPE
        if not (good and all(map(math.isfinite, (self.level, self.shape, self.scale)))):
            raise CalibrationError(
                "the tail is no distribution: it needs excesses, a positive scale and a shape to 0.5"
            )

    @classmethod
    def fit(cls, scores: NDArray[np.float32]) -> TailFit:
        """Fit the largest 2 % of scores (n,) of normal rows, at least 50 of them, by probability-weighted moments.

        The estimator is that of Hosking & Wallis, Technometrics 29, 1987: closed form, and for samples of
        this size closer than maximum likelihood.

        Raises:
            CalibrationError: fewer than 500 scores, one that is not finite, a tail too heavy to extrapolate,
                scores that take few values, or a fit that the excesses contradict.
        """
        ordered = np.sort(np.asarray(scores, dtype=np.float64))
        if not np.isfinite(ordered).all():
            raise CalibrationError("a fit of the tail needs a finite score for every row: leave out those not scored")
        n = len(ordered)
        if n < FEWEST_ROWS:
            raise CalibrationError(
                f"a fit of the tail needs at least {FEWEST_ROWS} normal calibration rows, there are {n}",
                needed=FEWEST_ROWS,
            )
        count = max(FEWEST_EXCESSES, math.ceil(_TAIL_SHARE * n))
        level = float(ordered[n - count - 1])
        excesses = ordered[ordered > level] - level
        return cls.of_excesses(excesses, level, len(excesses), n)

    @classmethod
    def of_excesses(cls, excesses: NDArray[np.float64], level: float, count: int, n: int) -> TailFit:
        """Fit excesses (k,) over ``level``, the newest of ``count`` among ``n`` scores.

        Raises:
            CalibrationError: as ``fit``, but for the number of scores.
        """
        excesses = np.sort(excesses)
        if len(np.unique(excesses)) < FEWEST_EXCESSES // 2:
            raise CalibrationError("the largest scores take only a few values: no continuous tail fits them")
        mean = float(excesses.mean())
        weights = np.arange(len(excesses) - 1, -1, -1) / (len(excesses) - 1)
        weighted = float((weights * excesses).mean())
        shape = 2.0 - mean / (mean - 2.0 * weighted)
        scale = 2.0 * mean * weighted / (mean - 2.0 * weighted)
        if not shape <= _WILDEST_SHAPE:
            raise CalibrationError(
                f"the tail of the scores is too wild to extrapolate (shape {shape:.2f}, at most 0.5)"
            )
        fitted = cls(level, shape, scale, count, n)
        distance, limit = fitted._distance(excesses), _WORST_FIT / math.sqrt(len(excesses))
        if not distance <= limit:
            raise CalibrationError(
                f"the largest scores do not follow the tail fitted to them (Kolmogorov-Smirnov {distance:.3f}, at most "
                f"{limit:.3f}); look among their rows for some that are not normal"
            )
        return fitted

    @property
    def lowest_rate(self) -> float:
        """The smallest false-positive rate that is extrapolated to."""
        return 1.0 / (_REACH * self.n)

    def threshold(self, false_positive_rate: float) -> float:
        """The score that normal rows exceed at this rate (Siffer et al. 2017, equation 1).

        Raises:
            CalibrationError: the rate lies outside the tail: too large for it (take the quantile), or too far
                below 1 / n.
        """
        share = self.excesses / self.n
        if not 0.0 < false_positive_rate <= share:
            raise CalibrationError(
                f"a false-positive rate of {false_positive_rate:g} is outside the fitted tail, which holds rates up to "
                f"{share:g}: take the quantile"
            )
        if false_positive_rate < self.lowest_rate * (1 - 1e-9):
            raise CalibrationError(
                f"a false-positive rate of {false_positive_rate:g} is more than {_REACH} times beyond the {self.n} "
                f"calibration rows: ask for at least {self.lowest_rate:.3g}, or bring more rows",
                needed=whole_inverse(_REACH * false_positive_rate),
            )
        log_odds = math.log(share / false_positive_rate)
        if abs(self.shape) < 1e-9:
            return self.level + self.scale * log_odds
        return self.level + self.scale * math.expm1(self.shape * log_odds) / self.shape

    def survival(self, excesses: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(score > level + y | score > level) for excesses y >= 0, (k,) float64."""
        y = np.asarray(excesses, dtype=np.float64) / self.scale
        if abs(self.shape) < 1e-9:
            return np.exp(-y)
        inside = np.maximum(1.0 + self.shape * y, 0.0)  # 0 beyond the end of a bounded tail
        return np.asarray(inside ** (-1.0 / self.shape))

    def _distance(self, excesses: NDArray[np.float64]) -> float:
        """Kolmogorov-Smirnov distance of sorted excesses from the fit."""
        below = 1.0 - self.survival(excesses)
        steps = np.arange(len(excesses) + 1) / len(excesses)
        return float(np.maximum(below - steps[:-1], steps[1:] - below).max())
