from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime.errors import BundleInvalid
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.format.stream_rules import AlarmSpec, GuardSpec, fit_guard, longest_run

WINDOWS = InputSpec((40, 2), "float32", "time_features", 0.0, 1.0, ("a", "b"))


def test_the_guard_takes_the_range_of_every_feature() -> None:
    x = np.zeros((3, 40, 2), np.float32)
    x[1, 5] = (-2.0, 0.0)
    x[2, 7] = (3.0, 0.0)
    guard = fit_guard(x, WINDOWS, margin=0.5, stuck_rows=9, saturated_rows=8, period_s=0.01)
    assert guard == GuardSpec((-2.0, 0.0), (3.0, 0.0), 0.5, 9, 8, 0.01, (False, True))


def test_an_image_has_one_range() -> None:
    x = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
    spec = InputSpec((3, 3, 1), "uint8", "nhwc", 0.0, 17.0, ())
    guard = fit_guard(x, spec, margin=0.0, stuck_rows=0, saturated_rows=0, period_s=None)
    assert (guard.low, guard.high, guard.constant) == ((0.0,), (17.0,), (False,))


def test_stuck_is_three_times_the_longest_run_and_at_least_20() -> None:
    x = np.random.default_rng(0).normal(size=(4, 40, 2)).astype(np.float32)
    assert longest_run(x, WINDOWS) == 20
    x[2, 11:26, 1] = 0.5  # 15 equal values
    assert longest_run(x, WINDOWS) == 45
    x[:, :, 0] = 1.0  # a feature that never changes tells nothing
    assert longest_run(x, WINDOWS) == 45


def test_rows_without_order_are_never_stuck() -> None:
    spec = InputSpec((2,), "float32", "features", 0.0, 1.0, ())
    assert longest_run(np.zeros((9, 2), np.float32), spec) == 0


@pytest.mark.parametrize(
    "wrong",
    [(0, 1, 1, 0.1, 0), (3, 2, 1, 0.1, 0), (1, 1, 0, 0.1, 0), (1, 1, 1, 0.0, 0), (1, 1, 1, 1.0, 0), (1, 1, 1, 0.1, -1)],
)
def test_rules_for_alarms_that_mean_nothing_are_refused(wrong: tuple[int, int, int, float, int]) -> None:
    with pytest.raises(BundleInvalid):
        AlarmSpec(*wrong)


def test_limits_that_mean_nothing_are_refused() -> None:
    good = {"low": (0.0,), "high": (1.0,), "margin": 0.1, "stuck_rows": 0, "saturated_rows": 0, "period_s": None}
    for wrong in ({"low": (2.0,)}, {"high": ()}, {"margin": -1.0}, {"stuck_rows": -1}, {"period_s": 0.0}):
        with pytest.raises(BundleInvalid):
            GuardSpec(**(good | wrong), constant=(False,))  # type: ignore[arg-type]
