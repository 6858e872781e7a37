from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_edge_runtime import BundleInvalid, CalibrationError, OptionError, ScoreSketch, samples_needed
from vae_edge_runtime.statistics.conformal import MAX_POINTS, correlation_rows

scores_strategy = hnp.arrays(np.float32, st.integers(1, 60), elements=st.integers(-5, 5).map(float))


def true_p_values(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return (1.0 + (calibration[None] >= scores[:, None]).sum(1)) / (len(calibration) + 1.0)


@given(calibration=scores_strategy, scores=scores_strategy)
@settings(max_examples=100, deadline=None)
def test_p_values_are_the_split_conformal_ones_with_ties(calibration: np.ndarray, scores: np.ndarray) -> None:
    sketch = ScoreSketch.fit(calibration)
    np.testing.assert_array_equal(sketch.p_values(scores), true_p_values(calibration, scores))


@given(calibration=scores_strategy, rate=st.sampled_from([0.05, 0.1, 0.3, 0.5]))
@settings(max_examples=100, deadline=None)
def test_threshold_is_the_kth_smallest_score_or_refused(calibration: np.ndarray, rate: float) -> None:
    n = len(calibration)
    k = math.ceil((n + 1) * (1 - rate) - 1e-9)
    sketch = ScoreSketch.fit(calibration)
    if k > n:
        with pytest.raises(CalibrationError, match="at least") as caught:
            sketch.threshold(rate)
        assert caught.value.needed == samples_needed(rate) > n
    else:
        assert sketch.threshold(rate) == np.sort(calibration)[k - 1]


def test_above_the_threshold_the_p_value_is_within_the_rate() -> None:
    rng = np.random.default_rng(0)
    sketch = ScoreSketch.fit(rng.normal(size=999).astype(np.float32))
    scores = rng.normal(size=5000).astype(np.float32)
    flagged = scores > sketch.threshold(0.01)
    assert flagged.sum() > 20
    assert sketch.p_values(scores[flagged]).max() <= 0.01
    assert sketch.p_values(scores[~flagged]).min() > 0.01


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_realised_false_alarm_rate_over_200_splits_is_the_theoretical_one(rate: float) -> None:
    rng = np.random.default_rng(1)
    n, m, splits = 199, 200, 200
    realised = []
    for _ in range(splits):
        scores = rng.gamma(2.0, size=n + m).astype(np.float32)
        sketch = ScoreSketch.fit(scores[:n])
        realised.append(float((scores[n:] > sketch.threshold(rate)).mean()))
    k = math.ceil((n + 1) * (1 - rate) - 1e-9)
    expected = 1 - k / (n + 1)
    # The rate given a calibration set is Beta(n + 1 - k, k); add the binomial part of m test rows.
    variance = k * (n + 1 - k) / ((n + 1) ** 2 * (n + 2)) * (1 - 1 / m) + expected * (1 - expected) / m
    assert abs(np.mean(realised) - expected) < 3 * math.sqrt(variance / splits)
    assert expected <= rate + 1e-12


def test_large_sets_keep_the_tail_exactly_and_never_understate_a_p_value() -> None:
    rng = np.random.default_rng(0)
    calibration = rng.normal(size=20_000).astype(np.float32)
    sketch = ScoreSketch.fit(calibration)
    scores = rng.normal(size=400).astype(np.float32)
    p, exact = sketch.p_values(scores), true_p_values(calibration, scores)
    assert len(sketch.values) == MAX_POINTS
    assert (p >= exact).all()
    assert (p - exact).max() < 1e-3
    np.testing.assert_array_equal(p[exact < 0.1], exact[exact < 0.1])
    assert sketch.threshold(0.01) == np.sort(calibration)[math.ceil(20_001 * 0.99) - 1]


def test_bytes_round_trip() -> None:
    sketch = ScoreSketch.fit(np.array([3, 1, 2, 2], dtype=np.float32))
    again = ScoreSketch.from_bytes(sketch.to_bytes(), n=4)
    np.testing.assert_array_equal(again.values, [1, 2, 3])
    np.testing.assert_array_equal(again.above, [3, 1, 0])


@pytest.mark.parametrize(
    ("values", "above", "n"),
    [
        ([1, 1], [1, 0], 2),
        ([2, 1], [1, 0], 2),
        ([1, np.nan], [1, 0], 2),
        ([1, 2], [1, 1], 2),
        ([1, 2], [2, 0], 2),
        ([1, 2], [1, 0], 1),
        ([], [], 0),
    ],
)
def test_sketch_bytes_that_do_not_fit_together_are_refused(values: list[float], above: list[int], n: int) -> None:
    raw = np.array(values, "<f4").tobytes() + np.array(above, "<u4").tobytes()
    with pytest.raises(BundleInvalid, match="sketch"):
        ScoreSketch.from_bytes(raw, n=n)


@pytest.mark.parametrize("scores", [[], [np.nan], [1.0, np.inf]])
def test_calibration_needs_finite_scores(scores: list[float]) -> None:
    with pytest.raises(CalibrationError, match="finite"):
        ScoreSketch.fit(np.array(scores, dtype=np.float32))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_rates_outside_the_open_unit_interval_are_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match="inside"):
        ScoreSketch.fit(np.ones(5, dtype=np.float32)).threshold(rate)


@pytest.mark.parametrize(("rate", "needed"), [(0.1, 9), (0.01, 99), (0.001, 999), (1e-4, 9999), (0.05, 19)])
def test_rows_needed_for_a_rate(rate: float, needed: int) -> None:
    assert samples_needed(rate) == needed


@pytest.mark.parametrize("rate", [0, 0.0, -1, -0.1, 1, 1.5, math.nan, math.inf, True, "0.1", None])
def test_rows_needed_for_what_is_no_rate_are_refused(rate: Any) -> None:
    with pytest.raises(OptionError, match=r"false_positive_rate is .*: pass a number inside \(0, 1\)"):
        samples_needed(rate)


def test_so_many_correlated_rows_count_as_one() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(size=4000)
    assert correlation_rows(white.astype(np.float32)) < 1.2
    # An autoregression of coefficient r has the autocorrelation time (1 + r) / (1 - r).
    moving = np.zeros(4000)
    for i in range(1, 4000):
        moving[i] = 0.8 * moving[i - 1] + white[i]
    assert correlation_rows(moving.astype(np.float32)) == pytest.approx(9.0, rel=0.25)
    cycle = np.sin(2 * np.pi * np.arange(4000) / 400) + 0.1 * white
    assert correlation_rows(cycle.astype(np.float32)) == pytest.approx(400 / np.pi, rel=0.15)
    assert correlation_rows(rng.permutation(cycle).astype(np.float32)) < 1.2
    assert correlation_rows(np.ones(50, np.float32)) >= 1
    assert correlation_rows(np.ones(1, np.float32)) == 1
