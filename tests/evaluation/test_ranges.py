from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.evaluation.ranges import (
    RangeOptions,
    intervals,
    point_adjust,
    range_figures,
    range_precision,
    range_recall,
)
from vae_edge_runtime import InputError, OptionError

flags = st.lists(st.booleans(), min_size=1, max_size=40)


def test_intervals_are_half_open_pairs_up_to_both_ends() -> None:
    assert intervals([1, 1, 0, 1, 0, 0, 1]).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert intervals([0, 0]).shape == (0, 2)
    assert intervals([1, 1, 1]).tolist() == [[0, 3]]


@given(flags)
def test_intervals_and_flags_are_the_same_thing(found: list[bool]) -> None:
    again = np.zeros(len(found), dtype=bool)
    for start, stop in intervals(found):
        assert stop > start
        again[start:stop] = True
    assert again.tolist() == found


def test_intervals_of_anything_but_zeros_and_ones_are_refused() -> None:
    with pytest.raises(InputError, match="no sequence of 0 and 1"):
        intervals([0, 2])
    with pytest.raises(InputError, match="no sequence of 0 and 1"):
        intervals([[0, 1]])


def test_recall_of_one_event_found_in_two_pieces() -> None:
    labels, found = [0, 1, 1, 1, 1, 0], [0, 1, 0, 1, 0, 0]
    assert range_recall(labels, found, RangeOptions(cardinality="one")) == 0.5
    assert range_recall(labels, found, RangeOptions(cardinality="reciprocal")) == 0.25
    assert range_recall(labels, found, RangeOptions(alpha=0.4, cardinality="reciprocal")) == pytest.approx(0.55)
    assert range_recall(labels, found, RangeOptions(alpha=1.0)) == 1.0


def test_bias_weighs_early_and_late_steps() -> None:
    labels, early = [1, 1, 1, 1], [1, 0, 0, 0]
    assert range_recall(labels, early, RangeOptions(bias="front")) == pytest.approx(4 / 10)
    assert range_recall(labels, early, RangeOptions(bias="back")) == pytest.approx(1 / 10)
    assert range_recall(labels, early, RangeOptions(bias="flat")) == pytest.approx(1 / 4)


def test_precision_is_a_mean_over_alarms_whatever_their_length() -> None:
    labels = [0, 1, 1, 0, 0, 0, 0, 0]
    found = [0, 1, 1, 0, 1, 1, 1, 1]
    assert range_precision(labels, found, RangeOptions()) == 0.5
    # One alarm over two events of one step each: half of it is right, in two pieces.
    assert range_precision([1, 0, 0, 1], [1, 1, 1, 1], RangeOptions(cardinality="one")) == 0.5
    assert range_precision([1, 0, 0, 1], [1, 1, 1, 1], RangeOptions()) == 0.25


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_ranges_of_one_step_are_points(pairs: list[tuple[bool, bool]]) -> None:
    labels, found = (np.repeat(values, 2) for values in zip(*pairs, strict=True))
    labels[1::2] = found[1::2] = False  # a gap after every step
    if not labels.any():
        return
    figures = range_figures(labels, found, RangeOptions())
    assert figures.range_based.recall == pytest.approx(figures.point_wise.recall)
    assert figures.range_based.precision == pytest.approx(figures.point_wise.precision, nan_ok=True)


@given(flags)
def test_perfect_decisions_are_perfect_by_every_definition(labels: list[bool]) -> None:
    if not 0 < sum(labels) < len(labels):
        return
    found = range_figures(labels, labels, RangeOptions(alpha=0.3, bias="front"))
    values = [(p.precision, p.recall, p.f1) for p in (found.range_based, found.point_wise, found.point_adjusted)]
    assert values == [pytest.approx((1.0, 1.0, 1.0))] * 3
    assert (found.event_recall, found.false_alarms) == (1.0, 0)


def test_events_and_alarms_are_counted_by_touch() -> None:
    labels = [1, 1, 0, 0, 1, 1, 0, 0, 1, 0]
    found = [0, 1, 1, 0, 0, 0, 0, 1, 0, 0]
    figures = range_figures(labels, found, RangeOptions(), not_scored=1)
    assert (figures.events, figures.events_found, figures.alarms, figures.false_alarms) == (3, 1, 2, 1)
    assert figures.event_recall == pytest.approx(1 / 3)
    assert (figures.steps, figures.not_scored) == (10, 1)


def test_point_adjustment_fills_found_events_and_nothing_else() -> None:
    labels = [1, 1, 1, 0, 1, 1, 0]
    found = np.array([0, 0, 1, 0, 0, 0, 1], dtype=bool)
    assert point_adjust(labels, found).tolist() == [True, True, True, False, False, False, True]
    assert found.tolist() == [False, False, True, False, False, False, True]


def test_without_an_alarm_precision_is_undefined_and_f1_zero() -> None:
    found = range_figures([0, 1, 1], [0, 0, 0], RangeOptions())
    assert math.isnan(found.range_based.precision)
    assert (found.range_based.recall, found.range_based.f1, found.point_adjusted.f1) == (0.0, 0.0, 0.0)


def test_random_scores_look_good_when_point_adjusted_and_bad_by_ranges() -> None:
    # 10,000 steps, two events of 500, one step in a hundred flagged at random.
    labels = np.zeros(10_000, dtype=bool)
    labels[2000:2500] = labels[7000:7500] = True
    found = range_figures(labels, np.random.default_rng(0).random(10_000) < 0.01, RangeOptions())
    assert found.point_adjusted.f1 > 0.9
    assert found.point_wise.f1 < 0.03
    assert found.range_based.f1 < 0.01


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"bias": "middle"}, "valid are flat, front, back"),
        ({"cardinality": "two"}, "valid are one, reciprocal"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        RangeOptions(**options)  # type: ignore[arg-type]


def test_time_without_an_event_is_refused() -> None:
    with pytest.raises(InputError, match="no anomalous"):
        range_figures([0, 0], [0, 1], RangeOptions())
