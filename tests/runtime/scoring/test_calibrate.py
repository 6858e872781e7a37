"""Calibration of heads from the outputs of normal rows, as exporter and ``recalibrate`` do it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vae_edge_runtime.errors import CalibrationError
from vae_edge_runtime.format.specs import ScoreSpec
from vae_edge_runtime.scoring.calibrate import calibrate

SPEC = ScoreSpec("mse", None, 1.0, 1.0, "identity", ("elbo",), 0.01, 0, 0.0, ())
RNG = np.random.default_rng(0)
EXPONENTIAL = {"score": RNG.exponential(size=2000).astype(np.float32)}
WILD = {"score": (RNG.pareto(0.7, size=2000)).astype(np.float32)}


def test_a_tail_backs_a_rate_that_the_quantile_cannot() -> None:
    with pytest.raises(CalibrationError, match="at least 9999 normal calibration rows, there are 2000"):
        calibrate(SPEC, EXPONENTIAL, prefix="fp32", false_positive_rate=1e-4)
    found = calibrate(SPEC, EXPONENTIAL, prefix="fp32", false_positive_rate=1e-4, method="tail")
    calibration = found.by_head["elbo"]
    assert calibration.source == "tail"
    assert calibration.threshold == pytest.approx(-np.log(1e-4), rel=0.35)
    assert found.warnings == ()


def test_a_wild_tail_falls_back_to_the_quantile_and_says_so() -> None:
    found = calibrate(SPEC, WILD, prefix="fp32", false_positive_rate=0.01, method="tail")
    calibration = found.by_head["elbo"]
    assert (calibration.source, calibration.tail) == ("conformal", None)
    assert calibration.threshold == float(np.sort(WILD["score"])[1980])  # ceil(2001 * 0.99) = 1981st
    (warning,) = found.warnings
    assert warning.startswith("head 'elbo': the tail of the scores is too wild")
    assert warning.endswith("the threshold is a quantile instead")


def test_a_rate_that_neither_backs_is_refused_with_both_reasons() -> None:
    with pytest.raises(CalibrationError, match=r"at least 9999 .* nor is there a tail to go by: the tail .* too wild"):
        calibrate(SPEC, WILD, prefix="fp32", false_positive_rate=1e-4, method="tail")


def test_a_rate_above_the_tail_is_a_quantile() -> None:
    found = calibrate(SPEC, EXPONENTIAL, prefix="fp32", false_positive_rate=0.2, method="tail")
    assert found.by_head["elbo"].source == "conformal"
    assert "outside the fitted tail" in found.warnings[0]


def test_a_threshold_of_the_model_is_kept_for_its_head_only() -> None:
    spec = dataclasses.replace(SPEC, heads=("elbo", "reconstruction"))
    outputs = EXPONENTIAL | {"reconstruction": EXPONENTIAL["score"] / 2}
    found = calibrate(spec, outputs, prefix="fp32", false_positive_rate=0.05, threshold=2.0)
    assert (found.by_head["elbo"].source, found.by_head["elbo"].threshold) == ("model", 2.0)
    above = (EXPONENTIAL["score"] > 2.0).sum()
    assert found.by_head["elbo"].false_positive_rate == pytest.approx((above + 1) / 2001)
    assert found.by_head["reconstruction"].source == "conformal"
    assert sorted(found.members) == ["fp32/calibration-reconstruction.bin", "fp32/calibration.bin"]


def test_a_score_that_is_not_finite_names_its_head() -> None:
    spec = dataclasses.replace(SPEC, heads=("elbo", "top"))
    outputs = EXPONENTIAL | {"top": np.full(2000, np.nan, np.float32)}
    with pytest.raises(CalibrationError, match=r"head 'top': calibration needs .* finite score"):
        calibrate(spec, outputs, prefix="fp32", false_positive_rate=0.05)
