"""The promise of a threshold, over 200 random splits: the realised rate of false alarms is the one asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vae_edge_runtime.statistics.conformal import ScoreSketch

SPLITS = 200
RATES = (0.01, 0.05, 0.1)
REAL = (
    ("load_digits", 2),
    ("load_digits", 8),
    ("load_digits", 24),
    ("load_breast_cancer", 2),
    ("load_breast_cancer", 8),
)


def skewed() -> np.ndarray:
    """Distinct scores like those of a VAE: sums of squares, with a tail."""
    rng = np.random.default_rng(0)
    return np.unique((rng.chisquare(6, 4000) * np.exp(0.3 * rng.normal(size=4000))).astype(np.float32))


def residuals(data: str, components: int) -> np.ndarray:
    """Squared distance of real rows from a plane fitted to others: what a linear VAE's reconstruction is."""
    x = getattr(pytest.importorskip("sklearn.datasets"), data)().data
    x, train = np.log1p(x), len(x) // 4
    centre = x[:train].mean(0)
    axes = np.linalg.svd(x[:train] - centre, full_matrices=False)[2][:components]
    rest = x[train:] - centre
    return np.square(rest - rest @ axes.T @ axes).sum(1).astype(np.float32)


def realised(scores: np.ndarray, rate: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Per split: share of the other rows above the threshold, and share with a p-value up to the rate."""
    above, small = [], []
    for seed in range(SPLITS):
        shuffled = np.random.default_rng(seed).permutation(scores)
        sketch, rest = ScoreSketch.fit(shuffled[:n]), shuffled[n:]
        above.append((rest > sketch.threshold(rate)).mean())
        small.append((sketch.p_values(rest) <= rate).mean())
    return np.array(above), np.array(small)


def theory(rate: float, n: int, m: int) -> tuple[float, float, float]:
    """Mean, variance and fourth central moment of the share of m further rows above the threshold of n.

    Given the calibration rows the rate of distinct scores is Beta(n + 1 - k, k), k = ceil((n + 1)(1 - rate)), so the
    count of m rows is beta-binomial.
    """
    k = math.ceil((n + 1) * (1 - rate) - 1e-9)
    a, b = n + 1 - k, k
    log = math.lgamma
    weights = np.array([
        math.exp(log(m + 1) - log(j + 1) - log(m - j + 1) + log(j + a) + log(m - j + b) - log(m + a + b)
                 + log(a + b) - log(a) - log(b))
        for j in range(m + 1)
    ])  # fmt: skip
    share = np.arange(m + 1) / m
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    mean = a / (n + 1)
    assert float(weights @ share) == pytest.approx(mean)
    return mean, float(weights @ (share - mean) ** 2), float(weights @ (share - mean) ** 4)


def check_rates(scores: np.ndarray, n: int, rate: float) -> None:
    """Mean and variance over the splits lie within 4 standard errors of the theory."""
    assert len(np.unique(scores)) == len(scores)  # so that the theory is exact and not a bound
    mean, variance, fourth = theory(rate, n, len(scores) - n)
    above, small = realised(scores, rate, n)
    error = math.sqrt(variance / SPLITS)
    assert abs(above.mean() - mean) < 4 * error
    assert abs(above.var() - variance) < 4 * math.sqrt((fourth - variance**2) / SPLITS)
    assert (small >= above).all()
    assert small.mean() <= rate + 4 * error
    assert mean <= rate


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_over_200_splits_of_skewed_scores_is_the_theoretical_one(rate: float) -> None:
    check_rates(skewed(), 400, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("data", "components"), REAL)
def test_the_rate_over_200_splits_of_real_rows_is_the_theoretical_one(data: str, components: int, rate: float) -> None:
    check_rates(residuals(data, components), 200, rate)


@pytest.mark.parametrize("n", [99, 150, 250])
def test_with_few_rows_the_promise_holds_and_is_not_bought_by_silence(n: int) -> None:
    check_rates(skewed(), n, 0.01)


@pytest.mark.parametrize("rate", RATES)
def test_scores_of_few_values_keep_the_promise_on_the_safe_side(rate: float) -> None:
    scores, n = np.round(skewed() / 4), 200
    assert len(np.unique(scores)) < 30
    mean, variance, _ = theory(rate, n, len(scores) - n)
    above, small = realised(scores, rate, n)
    assert (small >= above).all()
    assert small.mean() <= mean + 4 * math.sqrt(variance / SPLITS)
