"""What stands beside a row: the target of a forecast, and a mask of missing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from quantisers import Forecast, Masked, TakesNan
from torch import nn

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import Status, load, recalibrate, verify
from vae_edge_runtime.errors import CalibrationError, InputError, OptionError

RNG = np.random.default_rng(0)
WINDOWS = RNG.normal(size=(140, 12, 3)).astype(np.float32)
TARGETS = RNG.normal(size=(140, 4, 2)).astype(np.float32)


def _made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def _config(layout: str, **more: object) -> ExportConfig:
    return ExportConfig(layout=layout, false_positive_rate=0.05, allow_poor_fit=True, **more)  # type: ignore[arg-type]


def _kl(mean: torch.Tensor, logvar: torch.Tensor) -> np.ndarray:
    return (0.5 * (mean**2 + logvar.exp() - 1 - logvar)).sum(1).numpy()


def test_a_forecast_is_scored_against_its_target(tmp_path: Path) -> None:
    model, path = _made(Forecast), tmp_path / "f.vaeb"
    config = _config("time_features", offset=(0.5,), scale=(2.0,))
    report = export(model, path, calibration=WINDOWS, target=TARGETS, config=config)
    assert report.verdict.flipped == 0
    with torch.no_grad(), load(path, device="cpu") as vae:
        mean, logvar = model.encode((torch.from_numpy(WINDOWS[:9]) - 0.5) / 2)
        forecast = model.decode(mean).numpy()
        error = ((TARGETS[:9] - 0.5) / 2 - forecast) ** 2
        scores = vae.score(WINDOWS[:9], condition=TARGETS[:9], maps=True)
        np.testing.assert_allclose(scores.score, error.sum((1, 2)) + _kl(mean, logvar), rtol=1e-4)
        np.testing.assert_allclose(scores.map, error, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(vae.reconstruct(WINDOWS[:9]), 2 * forecast + 0.5, rtol=1e-4, atol=1e-5)
        assert vae.threshold_for(0.1) < vae.threshold_for(0.05)
        assert vae.sample(3, seed=0).shape == (3, 4, 2)
        with pytest.raises(InputError, match=r"pass the target of every row as condition=.*float32 \(n, 4, 2\)"):
            vae.score(WINDOWS[:9])
        with pytest.raises(InputError, match="takes no condition"):
            vae.decode(mean.numpy(), condition=TARGETS[:9])
    assert verify(path).ok
    moved = recalibrate(path, tmp_path / "g.vaeb", rows=WINDOWS, condition=3 * TARGETS)
    assert moved.changes[0].after > 2 * (moved.changes[0].before or 0.0)


def test_targets_of_another_shape_or_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="targets are float32"):
        export(_made(Forecast), tmp_path / "f.vaeb", calibration=WINDOWS, target=TARGETS[:5])
    with pytest.raises(OptionError, match="exclude each other"):
        export(_made(Forecast), tmp_path / "f.vaeb", calibration=WINDOWS, target=TARGETS, missing="nan")
    config = _config("time_features", precisions=("fp32", "fp16"))
    with pytest.raises(OptionError, match="precisions is not offered for rows with a target"):
        export(_made(Forecast), tmp_path / "f.vaeb", calibration=WINDOWS, target=TARGETS, config=config)


@pytest.mark.parametrize(("kind", "missing"), [(Masked, "mask"), (TakesNan, "nan")])
def test_missing_values_are_nan_and_are_left_out_of_the_score(
    kind: type[nn.Module], missing: str, tmp_path: Path
) -> None:
    model, path = _made(kind), tmp_path / "m.vaeb"
    x = RNG.normal(2.0, 3.0, size=(140, 6)).astype(np.float32)
    x[RNG.random(x.shape) < 0.2] = np.nan
    x[np.isnan(x).all(1), 0] = 1.0
    config = _config("features", offset=(2.0,), scale=(3.0,))
    export(model, path, calibration=x, missing=missing, config=config)  # type: ignore[arg-type]
    observed = ~np.isnan(x)
    with torch.no_grad(), load(path, device="cpu") as vae:
        fed = torch.from_numpy((x[:9] - 2) / 3)
        mask = torch.from_numpy(observed[:9].astype(np.float32))
        halves = (torch.nan_to_num(fed), mask) if missing == "mask" else (fed,)
        mean, logvar = model.encode(*halves)
        error = np.where(observed[:9], (fed.numpy() - model.decode(mean).numpy()) ** 2, 0)
        scores = vae.score(x[:9], maps=True)
        np.testing.assert_allclose(scores.score, error.sum(1) + _kl(mean, logvar), rtol=1e-4)
        np.testing.assert_allclose(scores.map, error, rtol=1e-4, atol=1e-5)
        assert (scores.status == Status.OK).all()
        filled = np.where(observed[:9], x[:9], 77.0).astype(np.float32)
        np.testing.assert_array_equal(vae.score(filled, condition=mask.numpy()).score, scores.score)
        whole = vae.score(np.full((1, 6), np.nan, np.float32))
        assert whole.status[0] == Status.NON_FINITE_INPUT
        assert vae.score(np.full((1, 6), np.inf, np.float32)).status[0] == Status.NON_FINITE_INPUT
        assert vae.reconstruct(x[:9]).shape == vae.sample(9, seed=0).shape == (9, 6)
        with pytest.raises(InputError, match="other values than 0 and 1"):
            vae.score(filled, condition=np.full((9, 6), 0.5, np.float32))
    assert verify(path).ok
    moved = recalibrate(path, tmp_path / "r.vaeb", rows=np.where(observed, x, np.nan).astype(np.float32) * 3)
    assert moved.changes[0].after > moved.changes[0].before
    empty = np.concatenate([x, np.full((1, 6), np.nan, np.float32)])
    with pytest.raises(CalibrationError, match="row 140 holds no value"):
        recalibrate(path, tmp_path / "s.vaeb", rows=empty)
    with pytest.raises(OptionError, match="compress is not offered for rows with a mask"):
        recalibrate(path, tmp_path / "s.vaeb", rows=x, compress="0.1")


def test_a_model_of_missing_values_is_evaluated_on_rows_that_miss_some(tmp_path: Path) -> None:
    x = RNG.normal(size=(140, 6)).astype(np.float32)
    held = RNG.normal(size=(40, 6)).astype(np.float32)
    held[::2] *= 5
    held[:, 0] = np.nan
    evaluation = (held, np.arange(40) % 2 == 0)
    config = _config("features")
    report = export(
        _made(Masked), tmp_path / "m.vaeb", calibration=x, missing="mask", evaluation=evaluation, config=config
    )
    assert report.verdict.auroc is not None
    assert report.verdict.auroc > 0.8
