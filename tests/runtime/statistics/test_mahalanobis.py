from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime.errors import BundleInvalid, CalibrationError
from vae_edge_runtime.statistics.mahalanobis import MAX_LATENTS, LatentStatistics, statistics_bytes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "d"), [(500, 3), (40, 30), (12, 40)])
def test_the_distance_is_that_of_the_ledoit_wolf_covariance(n: int, d: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    codes = (RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d))).astype(np.float32)
    exact = np.sqrt(covariance.LedoitWolf().fit(codes.astype(np.float64)).mahalanobis(codes))
    np.testing.assert_allclose(LatentStatistics.fit(codes).distance(codes), exact, rtol=2e-4)


def test_dead_latents_are_no_reason_to_fail() -> None:
    codes = RNG.normal(size=(300, 4)).astype(np.float32)
    codes[:, 2] = 0.0
    fitted = LatentStatistics.fit(codes)
    assert np.isfinite(fitted.distance(codes)).all()
    away = codes[:1].copy()
    away[0, 0] += 10
    assert fitted.distance(away)[0] > fitted.distance(codes).max()


def test_a_row_alone_is_bit_equal_to_the_row_in_a_batch() -> None:
    codes = RNG.normal(size=(64, 2, 5)).astype(np.float32)
    fitted = LatentStatistics.fit(codes)
    together = fitted.distance(codes)
    alone = np.concatenate([fitted.distance(codes[i : i + 1]) for i in range(64)])
    np.testing.assert_array_equal(alone, together)
    assert fitted.distance(codes[:0]).shape == (0,)


def test_bytes_round_trip_and_their_size_is_the_promised_one() -> None:
    fitted = LatentStatistics.fit(RNG.normal(size=(50, 7)).astype(np.float32))
    raw = fitted.to_bytes()
    assert len(raw) == statistics_bytes(7) == 4 * 7 * 8
    again = LatentStatistics.from_bytes(raw)
    np.testing.assert_array_equal(again.whiten, fitted.whiten)
    np.testing.assert_array_equal(again.mean, fitted.mean)


@pytest.mark.parametrize("numbers", [0, 1, 3, 7])
def test_bytes_of_no_mean_and_matrix_are_refused(numbers: int) -> None:
    with pytest.raises(BundleInvalid, match="mean and a matrix"):
        LatentStatistics.from_bytes(np.ones(numbers, "<f4").tobytes())


def test_a_number_that_is_not_finite_is_refused() -> None:
    raw = np.array([0.0, np.inf], "<f4").tobytes()
    with pytest.raises(BundleInvalid, match="not finite"):
        LatentStatistics.from_bytes(raw)


def test_codes_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(CalibrationError, match=f"at most {MAX_LATENTS} latents, this code has 600"):
        LatentStatistics.fit(np.zeros((3, 600), np.float32))
    with pytest.raises(CalibrationError, match="do not vary"):
        LatentStatistics.fit(np.ones((30, 3), np.float32))
