"""Interleaving and percentiles, with a clock that is told what to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.bench.measure import Pace, calls_needed, interleaved, latency, nearest_rank, ratio, turn_order


class FakeTime:
    """A clock that moves only when a call or a pause moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.log.append("gap")

    def call(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds()
            self.log.append(name)

        return run


def test_every_cell_has_one_turn_per_round_and_its_first_call_is_dropped() -> None:
    time = FakeTime()
    warm_up = {"a": iter([9.0, 1.0, 1.0, 9.0, 1.0, 1.0]), "b": iter([9.0, 2.0, 2.0, 9.0, 2.0, 2.0])}
    calls = [time.call(name, lambda name=name: next(warm_up[name])) for name in "ab"]
    found = interleaved(
        calls, Pace(rounds=2, calls_per_turn=2, gap_seconds=0.5), clock=lambda: time.now, sleep=time.sleep
    )
    assert [f.tolist() for f in found] == [[[1.0, 1.0]] * 2, [[2.0, 2.0]] * 2]
    assert "".join(entry[0] for entry in time.log) == "aaagbbbg" + "bbbgaaag"


def test_drift_of_the_machine_hits_all_cells_alike() -> None:
    time = FakeTime()
    calls = [time.call(name, lambda: 1.0 + 0.001 * time.now) for name in "abc"]  # ever slower
    found = interleaved(calls, Pace(rounds=12, gap_seconds=0.0), clock=lambda: time.now, sleep=time.sleep)
    assert ratio(found[1], found[0]).median == pytest.approx(1.0, abs=0.02)
    assert ratio(found[2], found[0]).median == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 3), (10.0, 3), (26.0, 7)])
def test_a_time_is_kept_to_whole_rounds_and_at_least_three(seconds: float, rounds: int) -> None:
    time = FakeTime()
    pace = Pace(rounds=None, seconds=seconds, calls_per_turn=3, gap_seconds=0.0)
    (found,) = interleaved([time.call("a", lambda: 1.0)], pace, clock=lambda: time.now, sleep=time.sleep)
    assert found.shape == (rounds, 3)


@given(st.integers(1, 9), st.integers(0, 40))
def test_an_order_holds_every_cell_once(cells: int, done: int) -> None:
    assert sorted(turn_order(cells, done)) == list(range(cells))


def test_over_the_rounds_every_cell_takes_every_place_and_has_different_neighbours() -> None:
    orders = [turn_order(4, done) for done in range(8)]
    for place in range(4):
        assert {order[place] for order in orders} == {0, 1, 2, 3}
    before = Counter((a, b) for order in orders for a, b in pairwise(order))
    assert len({a for a, b in before if b == 2}) == 2


def test_percentiles_are_measured_times_by_nearest_rank() -> None:
    found = latency(np.arange(1, 101) / 1000)
    assert (found.calls, found.p50_ms, found.p95_ms, found.p99_ms, found.missing) == (100, 50.0, 95.0, 99.0, None)
    assert found.mean_ms == pytest.approx(50.5)


@pytest.mark.parametrize(
    ("calls", "missing"),
    [(19, "p95 needs 20 calls, p99 needs 100 calls; there were 19"), (99, "p99 needs 100 calls; there were 99")],
)
def test_a_percentile_of_too_few_calls_is_none_and_says_why(calls: int, missing: str) -> None:
    found = latency(np.ones(calls))
    assert (found.p50_ms, found.p99_ms, found.missing) == (1000.0, None, missing)
    assert (found.p95_ms is None) == (calls < 20)


def test_calls_needed_is_one_over_the_share_above() -> None:
    assert [calls_needed(p) for p in (0.5, 0.9, 0.95, 0.99, 0.999)] == [2, 10, 20, 100, 1000]


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], p: float) -> None:
    found = nearest_rank(np.array(values), p)
    assert found in values
    assert np.mean(np.array(values) <= found) >= p - 1e-12


def test_a_ratio_is_taken_round_by_round() -> None:
    reference = np.array([[1.0] * 3, [10.0] * 3, [2.0] * 3] * 2)  # another load in every round
    found = ratio(0.5 * reference, reference)
    assert (found.median, found.low, found.high, found.rounds) == (0.5, 0.5, 0.5, 6)


def test_the_interval_of_a_ratio_is_that_of_order_statistics() -> None:
    ones = np.ones((20, 1))
    found = ratio(np.arange(1.0, 21.0)[:, None], ones)
    assert (found.median, found.low, found.high) == (10.5, 6.0, 15.0)  # the 6th and 15th of 20: 95.9 %
    few = ratio(np.arange(1.0, 6.0)[:, None], ones[:5])
    assert (few.median, few.low, few.high) == (3.0, None, None)
    six = ratio(np.arange(1.0, 7.0)[:, None], ones[:6])
    assert (six.low, six.high) == (1.0, 6.0)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, 20))
    found = [ratio(draw[:, None], np.ones((20, 1))) for draw in draws]
    held = np.mean([(r.low or 0) <= np.log(2) <= (r.high or 0) for r in found])
    assert 0.945 <= held <= 0.972  # exactly 0.9586
