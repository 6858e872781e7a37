"""Drift: are scores still those of the calibration? Constant memory; it reports, and retunes nothing.

Two tests run on the conformal p-values of a head, which are uniform as long as nothing has changed:

- a two-sample Kolmogorov-Smirnov test of every block of 512 decisions against the calibration rows, for any change;
- conformal test martingales (Vovk, Nouretdinov & Gammerman 2003), one started at every decision and all added up
  (the Shiryaev-Roberts e-detector of Shin, Ramdas & Rinaldo 2022), for scores that became larger or smaller,
  without waiting for the end of a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .state import packed, unpacked

F64 = NDArray[np.float64]

FALSE_ALARM = 1e-6
"""Of each test on each block, if decisions are exchangeable with the calibration rows."""
KS_BLOCK = 512
MARTINGALE_BLOCK = 4096
"""The sum of the martingales begins anew after so many decisions: its expectation grows by 1 with each."""
_BAND_FAILS = 0.01
_BETS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


class DriftTest:
    """Both tests for one head."""

    def __init__(self, n: int) -> None:
        """``n`` is the number of calibration rows of the head."""
        self._n = n
        # Dvoretzky-Kiefer-Wolfowitz: with probability 0.99 over the calibration rows, p-values moved by
        # this band are super-uniform for good, so that the martingale does not find the finite sample.
        self._band = math.sqrt(math.log(2 / _BAND_FAILS) / (2 * n))
        distance = math.sqrt(-math.log(FALSE_ALARM / 2) / 2)
        self._critical = distance * math.sqrt((n + KS_BLOCK) / (n * KS_BLOCK))
        self._block = np.empty(KS_BLOCK)
        self._restart()

    def _restart(self) -> None:
        self._filled = self._played = 0
        self._sums = np.full((2, len(_BETS)), -np.inf)  # logarithms; scores too large, too small

    def update(self, p_value: float) -> dict[str, Any] | None:
        """Take one p-value; the figures of a drift once there is one, and both tests then start anew."""
        self._block[self._filled] = p_value
        self._filled += 1
        self._played += 1
        sides = np.minimum(np.array([p_value, 1.0 - p_value + 1.0 / (self._n + 1)]) + self._band, 1.0)
        self._sums = np.logaddexp(0.0, self._sums) + np.log(_BETS) + (_BETS - 1.0) * np.log(sides)[:, None]
        figures = self._martingale() or (self._kolmogorov_smirnov() if self._filled == KS_BLOCK else None)
        if figures:
            self._restart()
        elif self._filled == KS_BLOCK:
            self._filled = 0
        if self._played == MARTINGALE_BLOCK:
            self._played = 0
            self._sums[:] = -np.inf
        return figures

    def state(self) -> dict[str, Any]:
        """Plain values that ``restore`` takes."""
        return {"block": packed(self._block[: self._filled]), "played": self._played, "sums": packed(self._sums)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        block = unpacked(state["block"], ("float64",), (-1,))
        self._filled, self._played = len(block), int(state["played"])
        self._block[: self._filled] = block
        self._sums = unpacked(state["sums"], ("float64",), self._sums.shape)

    def _martingale(self) -> dict[str, Any] | None:
        log_sum = np.log(np.exp(np.minimum(self._sums, 700.0)).mean(1))
        side = int(log_sum.argmax())
        # The sum exceeds c within the block with probability at most block / c if nothing has changed (Doob).
        limit = math.log(MARTINGALE_BLOCK / FALSE_ALARM)
        if log_sum[side] < limit:
            return None
        return {
            "test": "conformal martingales",
            "direction": ("scores became larger", "scores became smaller")[side],
            "statistic": round(float(log_sum[side]), 3),
            "critical": round(limit, 3),
            "decisions": self._played,
        }

    def _kolmogorov_smirnov(self) -> dict[str, Any] | None:
        ordered = np.sort(self._block)
        steps = np.arange(KS_BLOCK + 1) / KS_BLOCK
        # Conformal p-values lie on k / (n + 1): below one of them there are k - 1 of the n calibration scores.
        distance = float(max((steps[1:] - ordered).max(), (ordered - 1 / (self._n + 1) - steps[:-1]).max()))
        if distance <= self._critical:
            return None
        mean = float(self._block.mean())
        return {
            "test": "Kolmogorov-Smirnov",
            "direction": "scores became larger" if mean < 0.4 else "scores became smaller" if mean > 0.6 else "shape",
            "statistic": round(distance, 4),
            "critical": round(self._critical, 4),
            "mean_p_value": round(mean, 4),
            "decisions": KS_BLOCK,
        }


class Drift:
    """Drift tests of several heads on a thinned stream of decisions."""

    def __init__(self, calibration_rows: dict[str, int], every: int) -> None:
        """``every``: neighbours are alike, and not exchangeable; only every so manyth decision is looked at."""
        self._tests = {head: DriftTest(n) for head, n in calibration_rows.items()}
        self._every, self._seen = every, 0

    @property
    def heads(self) -> tuple[str, ...]:
        """That are watched."""
        return tuple(self._tests)

    def update(self, p_values: dict[str, float]) -> list[dict[str, Any]]:
        """Figures of each drift that this decision reveals."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return []
        drifts = []
        for head, test in self._tests.items():
            figures = test.update(p_values[head])
            if figures:
                drifts.append({"head": head, **figures})
        return drifts

    def state(self) -> dict[str, Any]:
        """Plain values that ``restore`` takes."""
        return {"seen": self._seen, "heads": {head: test.state() for head, test in self._tests.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken; a head that was not watched then begins anew."""
        self._seen = int(state["seen"])
        for head, test in self._tests.items():
            if head in state["heads"]:
                test.restore(state["heads"][head])
