from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_edge_runtime.sampling import quantile
from vae_edge_runtime.sampling.quantile import normal_quantile, rounded_normal_quantile

F64 = NDArray[np.float64]
_TAILS = np.logspace(-17, -1, 300)
P = np.concatenate(
    [np.random.default_rng(1).random(20_000), _TAILS, 1 - _TAILS[60:], [0.5, 0.075, 0.925, 2.0**-54, 1 - 2.0**-53]]
)


def _specified(p: F64) -> bytes:
    return normal_quantile(p).astype(np.float32).tobytes()


def test_quantile_is_as_241_to_a_few_ulp_of_float64() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.random(5000), np.logspace(-17, -1, 500), 1 - np.logspace(-15.9, -1, 500)])
    expected = np.array([NormalDist().inv_cdf(float(v)) for v in p])
    np.testing.assert_allclose(normal_quantile(p), expected, rtol=2e-15, atol=2e-16)


@pytest.mark.parametrize("at_once", [1, 7, 160, 161, 4097, len(P)])
def test_the_quick_way_has_the_bits_of_the_specified_one(at_once: int) -> None:
    assert (np.sqrt(-np.log(P)) > 5).sum() > 50  # the far tail is among them
    some = P if at_once > 1 else P[::50]
    found = np.concatenate([rounded_normal_quantile(some[at : at + at_once]) for at in range(0, len(some), at_once)])
    assert found.tobytes() == _specified(some)


@pytest.mark.parametrize("way", [quantile._one_by_one, quantile._at_once])
def test_the_quick_ways_are_well_within_the_margin_of_the_rounding_test(way: Callable[[F64], F64]) -> None:
    exact, nearly = normal_quantile(P), way(P)
    known = np.isfinite(nearly) & (exact != 0)
    assert known.sum() > 20_300
    assert np.max(np.abs(nearly - exact)[known] / np.abs(exact[known])) < quantile._MARGIN / 5


@pytest.mark.parametrize("direction", [-0.99, 0.99])
def test_errors_up_to_the_margin_change_no_bit(monkeypatch: pytest.MonkeyPatch, direction: float) -> None:
    margin = 1e-9  # so wide that some 300 of the values are unclear
    monkeypatch.setattr(quantile, "_MARGIN", margin)
    monkeypatch.setattr(quantile, "_at_once", lambda p: normal_quantile(p) * (1 + direction * margin))
    off = (quantile._at_once(P).astype(np.float32) != normal_quantile(P).astype(np.float32)).sum()
    assert off > 50
    assert rounded_normal_quantile(P).tobytes() == _specified(P)


@pytest.mark.parametrize("count", [1, 500])
def test_one_counts_as_the_largest_number_below_it(count: int) -> None:
    found = rounded_normal_quantile(np.ones(count))
    assert found.tobytes() == _specified(np.full(count, 1 - 2.0**-53))
    assert found[0] == pytest.approx(8.2095, abs=1e-3)
