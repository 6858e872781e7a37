"""Drift: quiet while nothing changes, also with few calibration rows, and quick when something does."""

from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime.statistics.conformal import ScoreSketch
from vae_edge_runtime.stream.drift import KS_BLOCK, Drift, DriftTest


def p_values(n: int, shift: float, count: int, seed: int, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sketch = ScoreSketch.fit(rng.normal(size=n).astype(np.float32))
    return sketch.p_values(rng.normal(shift, spread, size=count).astype(np.float32))


@pytest.mark.parametrize("n", [120, 1000, 20_000])
def test_nothing_is_found_where_nothing_has_changed(n: int) -> None:
    for seed in range(3):
        test = DriftTest(n)
        assert [found for p in p_values(n, 0.0, 8_000, seed) if (found := test.update(float(p)))] == []


@pytest.mark.parametrize(("shift", "direction"), [(0.5, "scores became larger"), (-0.5, "scores became smaller")])
def test_half_a_standard_deviation_is_found_within_two_blocks(shift: float, direction: str) -> None:
    for seed in range(5):
        test = DriftTest(1000)
        found = [test.update(float(p)) for p in p_values(1000, shift, 2 * KS_BLOCK, seed)]
        figures = [f for f in found if f]
        assert figures[0]["direction"] == direction
        assert figures[0]["statistic"] > figures[0]["critical"]


def test_a_large_shift_does_not_wait_for_the_end_of_a_block_nor_for_what_was_lost_before() -> None:
    delays = []
    for seed in range(5):
        test = DriftTest(5000)
        assert not any(test.update(float(p)) for p in p_values(5000, 0.0, 3000, seed))
        shifted = p_values(5000, 4.0, 500, seed)
        delays.append(next(i for i, p in enumerate(shifted) if test.update(float(p))))
    assert max(delays) < 60


def test_a_spread_that_halves_is_found_though_the_middle_stays() -> None:
    test = DriftTest(1000)
    figures = [f for p in p_values(1000, 0.0, 4 * KS_BLOCK, 0, spread=0.5) if (f := test.update(float(p)))]
    assert figures[0]["test"] == "Kolmogorov-Smirnov"
    assert figures[0]["direction"] == "shape"


def test_of_overlapping_windows_only_every_so_manyth_counts() -> None:
    drift = Drift({"elbo": 1000}, every=10)
    found = [drift.update({"elbo": 0.0005}) for _ in range(2000)]
    first = next(i for i, figures in enumerate(found) if figures)
    assert first % 10 == 0
    assert first > 50
    assert found[first][0]["head"] == "elbo"
