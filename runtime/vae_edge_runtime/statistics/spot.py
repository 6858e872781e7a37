"""A threshold that follows a stream: SPOT and DSPOT (Siffer et al., KDD 2017). Constant memory.

It learns from what it sees, anomalies below it included, and so forgets the promise of a calibration; and since
what lies above is left out, its tail becomes too short: measured on exponential scores, a rate of 1e-3 is 2.4 times
as large after 40,000 rows and 3.8 times after 200,000, one of 1e-4 1.5 times after 100,000. No stream of ours uses
it unasked; ``recalibrate`` is the way to thresholds that are backed.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError, InputError, OptionError
from .tail import TailFit

_REFIT_EVERY = 50
_MOST_EXCESSES = 2000


class Spot:
    """Peaks over threshold on a stream of scores.

    Attributes:
        fit: the tail that the threshold comes from, of scores less their trend.
    """

    def __init__(self, normal: NDArray[np.float32], false_positive_rate: float, *, depth: int = 0) -> None:
        """Begin with normal scores (n,), at least 500.

        Args:
            normal: scores to begin with, in their order.
            false_positive_rate: that the threshold stands for.
            depth: of DSPOT: the mean of so many scores before it is subtracted from each; 0: SPOT.

        Raises:
            CalibrationError: too few scores, or a tail that cannot be trusted. OptionError: depth is negative.
        """
        if depth < 0:
            raise OptionError(f"depth is {depth}; it is a number of scores, 0 for none")
        self._rate = false_positive_rate
        self._recent: deque[float] = deque(maxlen=depth or None)
        self._depth, self._sum = depth, 0.0
        values = [self._without_trend(float(score)) for score in normal]
        moved = np.array(values[depth:], dtype=np.float32)
        self.fit = TailFit.fit(moved)
        tail = moved.astype(np.float64) - self.fit.level
        self._excesses: deque[float] = deque(tail[tail > 0].tolist(), maxlen=_MOST_EXCESSES)
        self._seen, self._peaks, self._new = len(moved), self.fit.excesses, 0
        self._above = self.fit.threshold(false_positive_rate)

    @property
    def threshold(self) -> float:
        """For the next score."""
        return self._above + self._trend()

    def update(self, score: float) -> bool:
        """Whether ``score`` is an anomaly; if not, it is learnt from.

        Raises:
            InputError: it is not finite.
        """
        if not math.isfinite(score):
            raise InputError(f"score is {score}; leave out rows that were not scored")
        value = score - self._trend()
        if value > self._above:
            return True
        self._without_trend(score)
        self._seen += 1
        if value > self.fit.level:
            self._excesses.append(value - self.fit.level)
            self._peaks += 1
            self._new += 1
            if self._new == _REFIT_EVERY:
                self._new = 0
                self._refit()
        return False

    def _refit(self) -> None:
        """A new tail from the newest excesses; the old one where they fit none."""
        try:
            fitted = TailFit.of_excesses(np.array(self._excesses), self.fit.level, self._peaks, self._seen)
            self._above, self.fit = fitted.threshold(self._rate), fitted
        except CalibrationError:
            return

    def _trend(self) -> float:
        return self._sum / len(self._recent) if self._recent else 0.0

    def _without_trend(self, score: float) -> float:
        """``score`` less the mean of those before it, to which it is added."""
        value = score - self._trend()
        if self._depth:
            if len(self._recent) == self._depth:
                self._sum -= self._recent[0]
            self._recent.append(score)
            self._sum += score
        return value
