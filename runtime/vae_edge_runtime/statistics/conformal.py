"""From scores of normal rows to decisions: pure numpy, no file, no session.

Split conformal prediction (Vovk, Gammerman & Shafer 2005; Bates et al. 2023 for outliers):
with n calibration scores and a new row exchangeable with them, p = (1 + #{cal >= s}) / (n + 1)
satisfies P(p <= a) <= a. The threshold for a false-positive rate a is the k-th smallest
calibration score, k = ceil((n + 1)(1 - a)); ``score > threshold`` then implies p <= a.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import BundleInvalid, CalibrationError, InputError, OptionError
from ..record import record

F32 = NDArray[np.float32]

MAX_POINTS = 4096
_EXACT_TAIL = MAX_POINTS // 2
_MOST_ROWS = 2.0**53


def samples_needed(false_positive_rate: float) -> int:
    """Fewest calibration rows that can back a rate: the smallest p-value is 1 / (n + 1).

    Args:
        false_positive_rate: of normal rows, inside (0, 1).

    Raises:
        OptionError: it is not.

    >>> samples_needed(0.01), samples_needed(0.001)
    (99, 999)
    """
    if not 0.0 < _rate(false_positive_rate) < 1.0:  # a comparison with NaN is False
        raise OptionError(f"false_positive_rate is {false_positive_rate!r}: pass a number inside (0, 1)")
    return max(1, whole_inverse(false_positive_rate) - 1)


def _rate(value: Any) -> Any:
    if not isinstance(value, (float, int, np.number)) or isinstance(value, bool):
        raise OptionError(f"false_positive_rate is {arguments.shown(value)}: pass a number inside (0, 1)")
    return value


def whole_inverse(rate: float) -> int:
    """1 / ``rate``, rounded up; more rows than anybody has where a float64 cannot hold it."""
    return math.ceil(min(1.0 / rate, _MOST_ROWS) - 1e-9)


def correlation_rows(scores: F32) -> float:
    """Integrated autocorrelation time of scores (n,) in their order, in rows, at least 1.

    So many rows count as one: 1 + 2 sum of the autocorrelations up to the first that is not positive (after
    Geyer, "Practical Markov chain Monte Carlo", 1992), of ranks, so that no outlier decides; 1 for rows in random
    order.
    """
    n = len(scores)
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable").astype(np.float64)
    ranks -= ranks.mean()
    if n < 3 or not np.square(ranks).any():
        return 1.0
    spectrum = np.square(np.abs(np.fft.rfft(ranks, 2 * n)))
    correlation = np.fft.irfft(spectrum)[:n]
    correlation = correlation / correlation[0]
    falls = np.flatnonzero(correlation <= 0)
    return float(1.0 + 2.0 * correlation[1 : falls[0] if len(falls) else n].sum())


@record(frozen=True, eq=False)
class ScoreSketch:
    """Sorted calibration scores, or a conservative subset of them where there are many.

    Attributes:
        values: (points,) float32, strictly ascending; the exact upper tail is always kept.
        above: (points,) uint32, how many of the ``n`` scores lie strictly above each value.
        n: number of calibration scores.
    """

    values: F32
    above: NDArray[np.uint32]
    n: int

    def __post_init__(self) -> None:
        for name in ("values", "above"):
            arguments.instance(name, getattr(self, name), np.ndarray, "an array")
        v, above = _numbers(self.values), _numbers(self.above)
        arguments.whole_number("n", self.n)
        good = (
            v.ndim == above.ndim == 1
            and 0 < len(v) == len(above) <= self.n
            and bool(np.isfinite(v).all())
            and bool((np.diff(v) > 0).all())
            and bool((np.diff(above.astype(np.int64)) < 0).all())
            and int(above[-1]) == 0
            and int(above[0]) < self.n
        )
        if not good:
            raise BundleInvalid("the calibration sketch is not sorted, or its counts do not fit its size")

    @classmethod
    def fit(cls, scores: F32) -> ScoreSketch:
        """Summarise the scores of normal rows.

        Raises:
            CalibrationError: no scores, or one that is not finite. InputError: ``scores`` are no numbers.
        """
        scores = np.sort(_numbers(scores).astype(np.float32).reshape(-1))
        if scores.size == 0 or not np.isfinite(scores).all():
            raise CalibrationError("calibration needs at least one row, and a finite score for every row")
        values, first = np.unique(scores, return_index=True)
        above = scores.size - np.append(first[1:], scores.size)
        if values.size > MAX_POINTS:
            bulk = np.linspace(0, values.size - _EXACT_TAIL - 1, MAX_POINTS - _EXACT_TAIL).round().astype(int)
            kept = np.concatenate([bulk, np.arange(values.size - _EXACT_TAIL, values.size)])
            values, above = values[kept], above[kept]
        return cls(values, above.astype(np.uint32), int(scores.size))

    def p_values(self, scores: F32) -> NDArray[np.float64]:
        """Split-conformal p-value per score, (n,) float64; NaN where the score is NaN.

        Between two stored values the larger count is used, so a p-value is never too small.
        """
        scores = _numbers(scores)
        # The largest stored value below s bounds #{cal >= s} from above, exactly so in the tail.
        below = np.searchsorted(self.values, scores, side="left") - 1
        count = np.where(below < 0, self.n, self.above[np.maximum(below, 0)].astype(np.int64))
        return np.where(np.isnan(scores), np.nan, (1.0 + count) / (self.n + 1.0))

    def rate_above(self, threshold: float) -> float:
        """The false-positive rate that the calibration scores show for a threshold: the p-value just above it.

        Args:
            threshold: in the unit of the score.
        """
        arguments.number("threshold", threshold)
        with np.errstate(over="ignore"):  # a threshold of a stranger may be no float32
            above = np.nextafter(np.array([threshold], np.float32), np.float32(np.inf))
        return float(self.p_values(above)[0])

    def threshold(self, false_positive_rate: float) -> float:
        """The score above which a row is called an anomaly at this false-positive rate.

        Raises:
            CalibrationError: the rate is outside (0, 1), or too small for n; ``needed`` says
                how many rows would do.
        """
        if not 0.0 < _rate(false_positive_rate) < 1.0:
            raise CalibrationError(f"a false-positive rate of {false_positive_rate} is not inside (0, 1)")
        k = math.ceil((self.n + 1) * (1.0 - false_positive_rate) - 1e-9)
        if k > self.n:
            needed = samples_needed(false_positive_rate)
            raise CalibrationError(
                f"a false-positive rate of {false_positive_rate:g} needs at least {needed} normal calibration rows, "
                f"there are {self.n}: bring more rows, or ask for a rate of at least {1 / (self.n + 1):.3g}",
                needed=needed,
            )
        # k-th smallest = the smallest stored value with at most n - k scores above it.
        fits = np.nonzero(self.above <= self.n - k)[0]
        return float(self.values[fits[0]])

    def to_bytes(self) -> bytes:
        """Little-endian float32 values, then uint32 counts."""
        return self.values.astype("<f4").tobytes() + self.above.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes, *, n: int) -> ScoreSketch:
        """Read what ``to_bytes`` wrote.

        Raises:
            BundleInvalid: values out of order, not finite, or counts that do not fit ``n``.
        """
        arguments.instance("raw", raw, (bytes, bytearray, memoryview), "bytes")
        if len(raw) % 8:
            raise BundleInvalid(f"a calibration sketch has {len(raw)} bytes, which are no pairs of 4 and 4")
        half = len(raw) // 2
        values = np.frombuffer(raw[:half], dtype="<f4").astype(np.float32)
        return cls(values, np.frombuffer(raw[half:], dtype="<u4").astype(np.uint32), n)


def _numbers(scores: Any) -> NDArray[Any]:
    """Raises:
    InputError: they are no numbers.
    """
    array = np.asarray(scores)
    if array.dtype.kind not in "fiu":
        raise InputError(f"scores are {array.dtype}; pass an array of numbers")
    return array
