"""Batches of p-values, and p-values of several heads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_edge_runtime.errors import InputError, OptionError
from vae_edge_runtime.statistics.conformal import ScoreSketch
from vae_edge_runtime.statistics.multiplicity import (
    benjamini_hochberg,
    fisher,
    harmonic_mean,
    leave_one_out_p_values,
    mean_rank,
)

P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=30)


@given(P_VALUES, st.floats(0.01, 0.5))
@settings(deadline=None)
def test_discoveries_are_those_of_the_definition(p_values: list[float], rate: float) -> None:
    p = np.array(p_values, dtype=np.float64)
    known = sorted(x for x in p_values if x == x)
    limit = max((x for k, x in enumerate(known, 1) if x <= k / len(known) * rate), default=-1.0)
    np.testing.assert_array_equal(benjamini_hochberg(p, rate), [x <= limit for x in p_values])


@given(P_VALUES, st.randoms())
@settings(deadline=None)
def test_the_order_of_rows_does_not_matter(p_values: list[float], random: object) -> None:
    order = np.random.default_rng(len(p_values)).permutation(len(p_values))
    p = np.array(p_values, dtype=np.float64)
    np.testing.assert_array_equal(benjamini_hochberg(p[order], 0.1), benjamini_hochberg(p, 0.1)[order])


def test_the_share_of_false_discoveries_keeps_its_promise_with_one_calibration_set() -> None:
    rng, rate = np.random.default_rng(0), 0.1
    shares = []
    for _ in range(300):
        sketch = ScoreSketch.fit(rng.normal(size=1000).astype(np.float32))
        scores = np.concatenate([rng.normal(size=180), rng.normal(4, 1, size=20)]).astype(np.float32)
        named = benjamini_hochberg(sketch.p_values(scores), rate)
        shares.append(named[:180].sum() / max(1, named.sum()))
    assert np.mean(shares) <= rate * 0.9 + 3 * np.std(shares) / np.sqrt(300)  # 0.9: the share of normal rows
    assert np.mean(shares) > 0.05  # and is not bought by naming nothing


def test_what_is_no_rate_and_no_p_value_is_refused() -> None:
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(OptionError, match="not inside"):
            benjamini_hochberg(np.array([0.1]), rate)
    with pytest.raises(InputError, match=r"reach from 0.5 to 1.5"):
        benjamini_hochberg(np.array([0.5, 1.5]), 0.1)


def test_each_calibration_row_is_ranked_among_the_others() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0], dtype=np.float32)
    np.testing.assert_allclose(leave_one_out_p_values(scores), [1 / 4, 4 / 4, 3 / 4, 3 / 4])
    by_definition = [(1 + sum(t >= s for j, t in enumerate(scores) if j != i)) / 4 for i, s in enumerate(scores)]
    np.testing.assert_allclose(leave_one_out_p_values(scores), by_definition)


def test_combinations_by_hand() -> None:
    p = np.array([[0.1, 0.5], [1.0, 1.0], [0.001, 0.9]])
    np.testing.assert_allclose(fisher(p), -2 * np.log([0.05, 1.0, 0.0009]))
    np.testing.assert_allclose(harmonic_mean(p), [6.0, 1.0, (1000 + 1 / 0.9) / 2])
    np.testing.assert_allclose(mean_rank(p), [0.7, 0.0, 1 - 0.4505])
    assert mean_rank(p).argmax() == 0  # no head can shout
    assert harmonic_mean(p).argmax() == 2  # here one can


def test_a_row_less_normal_in_every_head_is_less_normal_in_each_combination() -> None:
    p = np.random.default_rng(0).random((200, 3)) * 0.9 + 0.05
    for combine in (fisher, harmonic_mean, mean_rank):
        assert (combine(p * 0.9) > combine(p)).all()
