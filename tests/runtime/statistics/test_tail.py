"""Peaks over threshold: the fit, the rates it promises, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vae_edge_runtime.errors import CalibrationError
from vae_edge_runtime.statistics.tail import FEWEST_ROWS, TailFit


def pareto(shape: float, scale: float, n: int, seed: int) -> np.ndarray:
    u = np.random.default_rng(seed).random(n)
    return scale * ((1 - u) ** -shape - 1) / shape if shape else -scale * np.log1p(-u)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2, 0.3])
def test_the_parameters_of_a_pareto_tail_are_found(shape: float) -> None:
    # Excesses of a generalised Pareto distribution over a level are one again, of scale sigma + gamma * level.
    found = [TailFit.fit(pareto(shape, 2.0, 20_000, seed).astype(np.float32)) for seed in range(30)]
    assert np.mean([f.shape for f in found]) == pytest.approx(shape, abs=0.06)
    scales = [f.scale / (2.0 + shape * f.level) for f in found]
    assert np.mean(scales) == pytest.approx(1.0, abs=0.06)
    assert {f.excesses for f in found} == {400}


def test_quantiles_and_survival_are_those_of_the_distribution() -> None:
    genpareto = pytest.importorskip("scipy.stats").genpareto
    for shape in (-0.4, 0.0, 0.3):
        fitted = TailFit(10.0, shape, 2.0, 100, 5000)
        law = genpareto(shape, scale=2.0)
        for rate in (0.02, 1e-3, 1e-5):
            assert fitted.threshold(rate) == pytest.approx(10.0 + law.isf(rate / 0.02), rel=1e-9)
        y = np.linspace(0.0, 4.9, 50)
        np.testing.assert_allclose(fitted.survival(y), law.sf(y), rtol=1e-9, atol=1e-12)


def test_the_estimator_is_no_worse_than_maximum_likelihood() -> None:
    genpareto = pytest.importorskip("scipy.stats").genpareto
    ours, theirs = [], []
    for seed in range(12):
        scores = pareto(0.1, 1.0, 2_000, seed).astype(np.float32)
        fitted = TailFit.fit(scores)
        exact = 1.0 * (1e-4**-0.1 - 1) / 0.1
        excesses = scores[scores > fitted.level].astype(np.float64) - fitted.level
        shape, _, scale = genpareto.fit(excesses, floc=0)
        ours.append(fitted.threshold(1e-4) - exact)
        theirs.append(TailFit(fitted.level, min(shape, 0.5), scale, fitted.excesses, 2_000).threshold(1e-4) - exact)
    assert np.median(np.abs(ours)) <= 1.1 * np.median(np.abs(theirs))


@pytest.mark.parametrize("rate", [1e-3, 1e-4])
@pytest.mark.parametrize("law", ["normal", "exponential", "chi-squared"])
def test_rates_that_no_quantile_of_2000_rows_can_back_are_met_within_a_factor(law: str, rate: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    distribution = {"normal": stats.norm(), "exponential": stats.expon(), "chi-squared": stats.chi2(16)}[law]
    realised = []
    for seed in range(60):
        scores = distribution.rvs(2_000, random_state=seed).astype(np.float32)
        try:
            realised.append(float(distribution.sf(TailFit.fit(scores).threshold(rate))))
        except CalibrationError:
            continue
    assert len(realised) >= 50  # few samples look too wild
    assert rate / 3 < np.median(realised) < 2 * rate


def test_what_cannot_be_backed_is_refused_with_the_number_of_rows_that_would_do() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(CalibrationError, match=f"at least {FEWEST_ROWS} normal calibration rows, there are 499") as few:
        TailFit.fit(rng.normal(size=499).astype(np.float32))
    assert few.value.needed == FEWEST_ROWS
    fitted = TailFit.fit(rng.normal(size=2_000).astype(np.float32))
    assert fitted.lowest_rate == pytest.approx(2.5e-5)
    assert fitted.threshold(2.5e-5) > fitted.threshold(1e-4) > fitted.threshold(0.01) > fitted.level
    with pytest.raises(CalibrationError, match="more than 20 times beyond the 2000") as far:
        fitted.threshold(5e-6)
    assert far.value.needed == 10_000
    with pytest.raises(
        CalibrationError, match=r"outside the fitted tail, which holds rates up to 0\.025: take the quantile"
    ):
        fitted.threshold(0.1)
    with pytest.raises(CalibrationError):
        fitted.threshold(0.0)


def test_a_tail_too_wild_or_of_few_values_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"too wild to extrapolate \(shape"):
        TailFit.fit(pareto(1.5, 1.0, 5_000, 1).astype(np.float32))
    coarse = np.random.default_rng(0).poisson(3, 5_000).astype(np.float32)
    with pytest.raises(CalibrationError, match="only a few values"):
        TailFit.fit(coarse)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_and_not_left_out(wrong: float) -> None:
    scores = np.random.default_rng(0).normal(size=2_000).astype(np.float32)
    scores[3] = wrong
    with pytest.raises(CalibrationError, match="finite score for every row"):
        TailFit.fit(scores)


def share_refused(draw: Callable[[np.random.Generator], np.ndarray]) -> float:
    refused = 0
    for seed in range(200):
        try:
            TailFit.fit(draw(np.random.default_rng(seed)).astype(np.float32))
        except CalibrationError:
            refused += 1
    return refused / 200


def test_of_sound_tails_about_one_in_a_hundred_is_refused() -> None:
    # 1 % of 200 is 2, with a standard error of 1.4
    assert share_refused(lambda rng: rng.normal(size=2_000)) <= 0.035
    assert share_refused(lambda rng: rng.exponential(size=2_000)) <= 0.035
    assert share_refused(lambda rng: rng.chisquare(6, size=2_000)) <= 0.035


def test_ten_spoilt_rows_among_2000_are_mostly_noticed() -> None:
    assert share_refused(lambda rng: np.append(rng.normal(size=1_990), rng.normal(6, 0.3, size=10))) > 0.6


def test_scores_that_two_machines_made_do_not_follow_one_tail() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 4_950), rng.normal(50, 0.5, 50)]).astype(np.float32)
    with pytest.raises(CalibrationError, match="do not follow the tail"):
        TailFit.fit(scores)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"shape": 0.6}, {"excesses": 0}, {"level": np.inf}])
def test_numbers_that_are_no_distribution_are_refused(wrong: dict[str, float]) -> None:
    good = {"level": 1.0, "shape": 0.1, "scale": 1.0, "excesses": 50, "n": 500}
    with pytest.raises(CalibrationError, match="no distribution"):
        TailFit(**(good | wrong))  # type: ignore[arg-type]
