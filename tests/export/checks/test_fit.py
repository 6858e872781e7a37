"""A model that does not fit its rows is refused, with the remedy that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.checks.fit import r_squared
from vae_edge_runtime import AdaptError, Bundle, FitFailed


class Tutorial(nn.Module):
    """The VAE of tutorials, over rows of 6 features; ``link`` is what its decoder ends with."""

    def __init__(self, link: Any = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 24), nn.Tanh())
        self.fc_mu, self.fc_logvar = nn.Linear(24, 2), nn.Linear(24, 2)
        self.decoder = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 6))
        self.link = link or nn.Identity()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.link(self.decoder(z))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encode(x)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.decode(z), mean, logvar


def unit_rows(n: int = 400) -> np.ndarray:
    """Rows in [0, 1] that two numbers describe, (n, 6) float32."""
    rng = np.random.default_rng(3)
    rows = 1 / (1 + np.exp(-2 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6))))
    return rows.astype(np.float32)


def trained(rows: np.ndarray, *, logits: bool = False) -> Tutorial:
    """Half a second of training."""
    torch.manual_seed(0)
    model, x = Tutorial(), torch.from_numpy(rows)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        x_hat, mean, logvar = model(x)
        loss = nn.functional.binary_cross_entropy_with_logits(x_hat, x) if logits else nn.functional.mse_loss(x_hat, x)
        kl = (mean.square() + logvar.exp() - logvar - 1).sum(dim=1).mean()
        optimiser.zero_grad()
        (loss + 1e-4 * kl).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Tutorial:
    return trained(unit_rows())


def _export(model: nn.Module, path: Path, rows: np.ndarray, **options: Any) -> Any:
    return export(model, path, calibration=rows, config=ExportConfig(layout="features", **options))


def test_a_trained_model_passes_and_its_figures_are_kept(model: Tutorial, tmp_path: Path) -> None:
    report = _export(model, tmp_path / "m.vaeb", unit_rows())
    assert 0.8 < report.fit.r2 <= 1.0
    assert report.fit.latents_in_use == report.fit.latents == 2
    assert 0 <= report.fit.fed_low < 0.1
    assert 0.9 < report.fit.fed_high <= 1
    with Bundle.open(tmp_path / "m.vaeb") as bundle:
        assert bundle.manifest.fit == report.fit
    assert "R² 0." in str(report.fit)


@pytest.mark.parametrize(
    ("wrong_units", "remedy"),
    [
        (lambda rows: rows * 255, r"--scale 255 R² is (0\.[89]|1\.0)"),
        (lambda rows: rows * 65535, r"--scale 65535 R² is (0\.[89]|1\.0)"),
        (lambda rows: (rows * 255).astype(np.uint8), r"--scale 255 R² is (0\.[89]|1\.0)"),
    ],
)
def test_a_forgotten_scale_is_refused_and_named(model: Tutorial, tmp_path: Path, wrong_units: Any, remedy: str) -> None:
    with pytest.raises(FitFailed, match=remedy) as refused:
        _export(model, tmp_path / "m.vaeb", wrong_units(unit_rows()))
    assert refused.value.report.r2 <= 0
    assert refused.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_rows_from_0_to_1_for_a_model_of_rows_from_minus_1_are_refused_and_named(tmp_path: Path) -> None:
    rows = unit_rows()
    model = trained(2 * rows - 1)
    with pytest.raises(FitFailed, match=r"With --offset 0\.5 --scale 0\.5 R² is (0\.[89]|1\.0)"):
        _export(model, tmp_path / "m.vaeb", rows)
    assert _export(model, tmp_path / "m.vaeb", rows, offset=(0.5,), scale=(0.5,)).fit.r2 > 0.8


def test_needless_logits_are_refused_and_named(tmp_path: Path) -> None:
    rows = 0.2 * unit_rows()
    with pytest.raises(FitFailed, match=r"With no --logits R² is (0\.[6-9]|1\.0)"):
        _export(trained(rows), tmp_path / "m.vaeb", rows, likelihood="bernoulli", logits=True)


def test_a_forgotten_standardisation_is_refused_and_named(tmp_path: Path) -> None:
    rows = unit_rows()
    raw = (rows * np.float32([1, 20, 300, 5, 70, 2]) + np.float32([1000, -50, 20, 400, 0, 7])).astype(np.float32)
    standard = trained(((raw - raw.mean(axis=0)) / raw.std(axis=0)).astype(np.float32))
    with pytest.raises(FitFailed, match=r"With --offset 1000\.\d+,-\d.* --scale .* R² is (0\.[89]|1\.0)"):
        _export(standard, tmp_path / "m.vaeb", raw)
    report = _export(
        standard,
        tmp_path / "m.vaeb",
        raw,
        offset=tuple(map(float, raw.mean(axis=0))),
        scale=tuple(map(float, raw.std(axis=0))),
    )
    assert report.fit.r2 > 0.8


def test_forgotten_logits_are_refused_and_named(tmp_path: Path) -> None:
    model = trained(unit_rows(), logits=True)
    with pytest.raises(FitFailed, match=r"With --likelihood bernoulli --logits R² is (0\.[6-9]|1\.0)"):
        _export(model, tmp_path / "m.vaeb", unit_rows())
    assert _export(model, tmp_path / "m.vaeb", unit_rows(), likelihood="bernoulli", logits=True).fit.r2 > 0.6


def test_forgotten_weights_are_refused_and_named(tmp_path: Path) -> None:
    torch.manual_seed(1)
    with pytest.raises(FitFailed, match=r"check that the trained weights are loaded \(--weights\)"):
        _export(Tutorial(), tmp_path / "m.vaeb", unit_rows(), least_r2=-0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_learned_nothing_is_warned_of(tmp_path: Path) -> None:
    torch.manual_seed(1)
    rows = unit_rows()
    standard = ((rows - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32)
    report = _export(Tutorial(), tmp_path / "m.vaeb", standard)
    assert -0.5 < report.fit.r2 <= 0
    assert report.fit.poor
    assert any("no better than their mean row does" in warning for warning in report.warnings)


def test_a_poor_fit_can_be_allowed_and_the_bundle_says_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    report = _export(Tutorial(), tmp_path / "m.vaeb", unit_rows(), least_r2=-0.5, allow_poor_fit=True)
    assert report.fit.poor
    assert report.fit.r2 < -0.5
    with Bundle.open(tmp_path / "m.vaeb") as bundle:
        assert "no better than the mean row" in str(bundle.manifest.fit)


class OwnNormal(Tutorial):
    """Raises in its own ``Normal`` where the standard deviation underflows, as on rows of 0 to 255."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, _ = super().encode(x)
        std = torch.exp(-2 * x.abs().amax(1, keepdim=True)).expand_as(mean)
        return mean, 2 * torch.log(torch.distributions.Normal(mean, std, validate_args=True).scale)


def test_a_model_that_raises_on_later_rows_alone_is_told_what_it_takes(tmp_path: Path) -> None:
    rows = unit_rows() * 255
    rows[:8] /= 255  # the rows it is adapted with are mild
    with pytest.raises(AdaptError, match=r"It takes the rows with --scale 255: pass that"):
        export(OwnNormal(), tmp_path / "m.vaeb", calibration=rows, config=ExportConfig())
    assert not (tmp_path / "m.vaeb").exists()


def test_r_squared_is_1_for_the_rows_and_0_for_their_mean() -> None:
    rows = unit_rows(50)
    assert r_squared(rows, rows) == 1.0
    assert r_squared(rows, np.broadcast_to(rows.mean(axis=0, dtype=np.float64), rows.shape)) == pytest.approx(0.0)
    assert r_squared(rows[:1].repeat(5, axis=0), rows[:5]) is None
    assert r_squared(rows, np.full_like(rows, np.nan)) < -1e30
