"""Models with everything in forward, trained a little: exported without glue, and the bundle is the module."""

from __future__ import annotations

from pathlib import Path

import hidden_halves as models
import numpy as np
import pytest
import torch
from hidden_halves import PinnedDraws
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export, inspect_model
from vae_edge_export.adapters.recipe import AT_CODES, AT_NOISE, IN_WORDS
from vae_edge_runtime import load

CONFIG = ExportConfig(allow_poor_fit=True, false_positive_rate=0.05)


def _rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((120, *shape)).astype(np.float32)


def _trained(model: nn.Module, rows: np.ndarray, *noises: tuple[int, ...]) -> nn.Module:
    """Twenty steps on its own rows: weights are no longer those of an initialisation."""
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    x = torch.from_numpy(rows)
    model.train()
    for _ in range(20):
        returned = model(x, *(torch.randn(len(x), *shape) for shape in noises))
        x_hat = returned[0] if isinstance(returned, (tuple, list)) else returned
        loss = nn.functional.mse_loss(x_hat, x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def _at_mean(model: nn.Module, x: np.ndarray, *noises: tuple[int, ...]) -> Tensor:
    """What the module itself gives where its noise is 0."""
    zeros = [torch.zeros(len(x), *shape) for shape in noises]
    with torch.no_grad(), PinnedDraws(*[torch.zeros(())] * 4):
        returned = model(torch.from_numpy(x), *zeros)
    return returned[0] if isinstance(returned, (tuple, list)) else returned


@pytest.mark.parametrize(
    ("name", "shape", "noises", "latent"),
    [
        ("EverythingInForward", (6,), (), (2,)),
        ("WithDecoderInput", (1, 8, 8), (), (3,)),
        ("TwoNoiseInputs", (6,), ((3,), (2,)), (5,)),
    ],
)
def test_a_trained_model_needs_no_lambda(
    name: str, shape: tuple[int, ...], noises: tuple[tuple[int, ...], ...], latent: tuple[int, ...], tmp_path: Path
) -> None:
    rows = _rows(*shape)
    model = _trained(getattr(models, name)(), rows, *noises)
    report = export(model, tmp_path / "m.vaeb", calibration=rows, config=CONFIG)
    assert report.evidence[0] == IN_WORDS[AT_NOISE]
    assert max(figure.max_relative for figure in report.parity.values()) < 1e-5
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        mean = vae.encode(rows[:7]).mean
        assert mean.shape == (7, *latent)
        x_hat = vae.decode(mean)
    np.testing.assert_allclose(x_hat, _at_mean(model, rows[:7], *noises).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "form"),
    [
        ("Rsample", (6,), "softplus"),
        ("InTrainingOnly", (6,), "logvar"),
        ("Scaled", (6,), "std"),
        ("Sequence", (5, 3), "log_std"),
    ],
)
def test_what_a_forward_draws_is_read_from_its_graph(name: str, shape: tuple[int, ...], form: str) -> None:
    torch.manual_seed(0)
    inspection = inspect_model(getattr(models, name)(), _rows(*shape)[:4])
    assert inspection.problems == ()
    assert inspection.recognised == "split at its noise"
    assert inspection.latent["scale_form"] == form
    assert any(line.startswith("the latent is drawn as z = mean + std * noise at ") for line in inspection.evidence)


def test_a_label_beside_the_row_goes_into_both_halves(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows, labels = _rows(6), np.arange(120) % 3
    export(models.WithLabels(), tmp_path / "m.vaeb", calibration=rows, condition=labels, config=CONFIG)
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        assert vae.score(rows[:4], condition=labels[:4]).score.shape == (4,)
        assert vae.sample(2, seed=1, condition=2).shape == (2, 6)


def test_a_label_that_is_not_given_is_named() -> None:
    inspection = inspect_model(models.WithLabels(), _rows(6)[:4])
    assert len(inspection.problems) == 1
    assert "its forward also takes 'label': pass condition=" in inspection.problems[0]


def test_a_codebook_inside_a_forward_is_cut_at_its_indices(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows, model = _rows(1, 8, 8), models.Codes().eval()
    report = export(model, tmp_path / "m.vaeb", calibration=rows, config=CONFIG)
    assert report.evidence[0] == IN_WORDS[AT_CODES]
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        indices = vae.encode(rows[:5]).indices
        assert indices.shape == (5, 4)
        assert vae.manifest.latent.codebook == 8
        with torch.no_grad():
            wanted = model(torch.from_numpy(rows[:5]))[0].numpy()
        np.testing.assert_allclose(vae.decode(indices), wanted, rtol=1e-4, atol=1e-5)
