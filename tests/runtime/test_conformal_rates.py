"""The promise of a threshold, over 200 random splits: the realised rate of false alarms is the one asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vae_edge_runtime.calibration import ScoreSketch

SPLITS = 200
RATES = (0.01, 0.05, 0.1)


def skewed() -> np.ndarray:
    """Scores like those of a VAE: sums of squares, with a tail."""
    rng = np.random.default_rng(0)
    return (rng.chisquare(6, 4000) * np.exp(0.3 * rng.normal(size=4000))).astype(np.float32)


def digits() -> np.ndarray:
    """PCA residuals of the 8 x 8 digits."""
    x = pytest.importorskip("sklearn.datasets").load_digits().data
    pca = pytest.importorskip("sklearn.decomposition").PCA(12).fit(x[:600])
    return np.square(x[600:] - pca.inverse_transform(pca.transform(x[600:]))).sum(1).astype(np.float32)


def realised(scores: np.ndarray, rate: float, n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Per split: share of the other rows above the threshold, and share with a p-value up to the rate."""
    above, small = [], []
    for seed in range(SPLITS):
        shuffled = np.random.default_rng(seed).permutation(scores)
        sketch, rest = ScoreSketch.fit(shuffled[:n]), shuffled[n:]
        above.append((rest > sketch.threshold(rate)).mean())
        small.append((sketch.p_values(rest) <= rate).mean())
    return np.array(above), np.array(small), len(scores) - n


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("source", [skewed, digits])
def test_the_mean_rate_over_200_splits_is_within_its_theoretical_interval(
    source: Callable[[], np.ndarray], rate: float
) -> None:
    scores, n = source(), 400
    above, small, m = realised(scores, rate, n)
    # Given the calibration rows the rate of continuous scores is Beta(n + 1 - k, k), k = ceil((n + 1)(1 - rate)).
    k = int(np.ceil((n + 1) * (1 - rate) - 1e-9))
    mean = (n + 1 - k) / (n + 1)
    variance = mean * (1 - mean) / (n + 2)  # of the Beta; counting m rows adds to it
    error = np.sqrt((variance + mean * (1 - mean) / m) / SPLITS)
    assert mean <= rate
    assert abs(above.mean() - mean) < 4 * error
    assert above.mean() <= rate + 4 * error
    assert abs(small.mean() - above.mean()) < 4 * error
    assert 0.5 * variance < above.var() < 3 * (variance + mean * (1 - mean) / m)


def test_with_few_rows_the_promise_holds_and_is_not_bought_by_silence() -> None:
    scores = skewed()
    for n in (99, 150, 250):
        above, _, _ = realised(scores, 0.01, n)
        k = int(np.ceil((n + 1) * 0.99 - 1e-9))
        wanted = (n + 1 - k) / (n + 1)
        assert above.mean() == pytest.approx(wanted, abs=4 * np.sqrt(wanted / n / SPLITS))
        assert above.mean() > 0.003
