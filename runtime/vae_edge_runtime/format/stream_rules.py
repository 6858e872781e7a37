"""What a bundle says about streams: when a row is a sensor fault, and when anomalies are an alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..record import record
from .specs import InputSpec, check


@record(frozen=True)
class GuardSpec:
    """Limits of sensor rows, from the calibration rows; one value per feature, or one for all of an image.

    Attributes:
        low, high: smallest and largest value seen, in data units.
        margin: share of (high - low) that a value may lie outside of them.
        stuck_rows: as many equal values one after the other are a stuck sensor; 0: not looked at.
        saturated_rows: the same at or beyond ``low`` or ``high``; 0: not looked at.
        period_s: seconds between rows; a step above 1.5 of them is a gap. None: not looked at.
        constant: features that never changed at calibration, which cannot be called stuck.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    margin: float
    stuck_rows: int
    saturated_rows: int
    period_s: float | None
    constant: tuple[bool, ...]

    def __post_init__(self) -> None:
        _check_types(self)
        check(len(self.low) == len(self.high) == len(self.constant) >= 1, "low, high and constant differ in length")
        check(all(a <= b for a, b in zip(self.low, self.high, strict=True)), "a low is above its high")
        check(self.margin >= 0 and min(self.stuck_rows, self.saturated_rows) >= 0, "a limit is negative")
        check(self.period_s is None or self.period_s > 0, "period_s is not positive")


@record(frozen=True)
class AlarmSpec:
    """From decisions to alarms.

    Attributes:
        raise_after, of: an alarm is raised when ``raise_after`` of the last ``of`` decisions are anomalies.
        clear_after: decisions in a row, each with a p-value above ``clear_rate``, that end it.
        clear_rate: a larger rate than the threshold's: between the two nothing changes (hysteresis).
        cool_down: decisions after an alarm has ended in which none is raised.
    """

    raise_after: int
    of: int
    clear_after: int
    clear_rate: float
    cool_down: int

    def __post_init__(self) -> None:
        _check_types(self)
        check(1 <= self.raise_after <= self.of <= 1 << 16, "raise_after and of disagree")
        check(self.clear_after >= 1 and self.cool_down >= 0, "clear_after or cool_down is out of range")
        check(0 < self.clear_rate < 1, "clear_rate is not inside (0, 1)")


@record(frozen=True)
class StreamSpec:
    """The rules of ``VAE.stream``."""

    guard: GuardSpec
    alarm: AlarmSpec


def _check_types(rules: Any) -> None:
    """Rules are written by hand, too; those out of a manifest pass at once.

    Raises:
        OptionError: a value of another type than its field's.
    """
    from ..arguments.by_annotation import check_fields  # not at the top: an import of the runtime makes no rules

    check_fields(rules)


def fit_guard(x: NDArray[np.generic], spec: InputSpec, *, margin: float, stuck_rows: int, saturated_rows: int,
              period_s: float | None) -> GuardSpec:  # fmt: skip
    """Limits from normal rows (n, *spec.shape): per feature of tables and windows, one for all else."""
    per_feature = spec.layout in ("features", "time_features")
    values = x.reshape(-1, x.shape[-1]) if per_feature else x.reshape(-1, 1)
    low, high = values.min(0), values.max(0)
    constant = tuple(bool(a == b) for a, b in zip(low, high, strict=True))
    return GuardSpec(
        tuple(map(float, low)), tuple(map(float, high)), margin, stuck_rows, saturated_rows, period_s, constant
    )


def longest_run(x: NDArray[np.generic], spec: InputSpec) -> int:
    """Three times the longest run of equal values in one feature of windows (n, time, features), at least 20.

    0 for rows of any other layout, which have no order in time. Features that never change do not count.
    """
    if spec.layout != "time_features":
        return 0
    same = x[:, 1:] == x[:, :-1]
    changing = ~same.all((0, 1))
    longest = run = np.ones((len(x), int(changing.sum())), dtype=np.int64)
    for step in range(same.shape[1]):
        run = np.where(same[:, step, changing], run + 1, 1)
        longest = np.maximum(longest, run)
    return max(20, 3 * int(longest.max(initial=1)))
