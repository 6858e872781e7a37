from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime.errors import CalibrationError, InputError, OptionError
from vae_edge_runtime.statistics.spot import Spot
from vae_edge_runtime.statistics.tail import TailFit


def normal(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n).astype(np.float32)


def test_it_begins_with_the_tail_of_the_normal_scores() -> None:
    scores = normal(2000, 0)
    assert Spot(scores, 1e-3).threshold == TailFit.fit(scores).threshold(1e-3)


def test_the_rate_on_a_long_normal_stream_is_near_the_one_asked_for() -> None:
    rates = []
    for seed in range(4):
        spot = Spot(normal(2000, seed), 1e-4)
        rates.append(np.mean([spot.update(float(s)) for s in normal(60_000, 100 + seed)]))
    assert 0.3e-4 < np.mean(rates) < 4e-4


def test_anomalies_are_found_and_not_learnt_from() -> None:
    spot = Spot(normal(2000, 0), 1e-3)
    before = spot.threshold
    assert all(spot.update(100.0) for _ in range(500))
    assert spot.threshold == before


def test_it_follows_a_tail_that_grows_heavier_where_a_fixed_threshold_does_not() -> None:
    following, fixed = [], []
    for seed in range(3):
        spot = Spot(normal(2000, seed), 1e-4)
        at_first, stream = spot.threshold, normal(60_000, 100 + seed) * 1.2
        following.append(np.mean([spot.update(float(s)) for s in stream][30_000:]))
        fixed.append((stream[30_000:] > at_first).mean())
    assert np.mean(following) < 0.5 * np.mean(fixed)


def test_dspot_subtracts_the_trend() -> None:
    trend = np.linspace(0, 50, 22_000, dtype=np.float32)
    scores = normal(22_000, 0) + trend
    still, moving = Spot(scores[:2000], 1e-3), Spot(scores[:2000], 1e-3, depth=50)
    assert np.mean([still.update(float(s)) for s in scores[2000:]]) > 0.5
    assert np.mean([moving.update(float(s)) for s in scores[2000:]]) < 3e-3
    assert moving.threshold > 50


def test_memory_is_bounded() -> None:
    spot = Spot(normal(2000, 0), 1e-3, depth=10)
    for s in normal(150_000, 1):
        spot.update(float(s))
    assert len(spot._excesses) == 2000
    assert len(spot._recent) == 10


def test_what_it_cannot_begin_or_go_on_with_is_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 500"):
        Spot(normal(400, 0), 1e-3)
    with pytest.raises(CalibrationError, match="at least 500"):
        Spot(normal(520, 0), 1e-3, depth=50)
    with pytest.raises(OptionError, match="depth"):
        Spot(normal(2000, 0), 1e-3, depth=-1)
    with pytest.raises(InputError, match="not scored"):
        Spot(normal(2000, 0), 1e-3).update(float("nan"))
