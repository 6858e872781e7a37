"""A model that was trained by another likelihood than it is scored by: named where the figures show it, else not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_fit import Tutorial, unit_rows
from torch import Tensor, nn
from torch.nn import functional as F

from vae_edge_export import ExportConfig, export
from vae_edge_export.checks.likelihood_hints import likelihood_hints
from vae_edge_export.graphs.build import build_graphs
from vae_edge_export.halves.door import recipe_of
from vae_edge_export.rows import split_rows
from vae_edge_runtime import AdaptError

Loss = Callable[[Any, Tensor], Tensor]


def fitted(model: Tutorial, rows: np.ndarray, loss: Loss, steps: int = 300) -> Tutorial:
    """Half a second of training on rows in model units, by a loss of what ``decode`` gives."""
    torch.manual_seed(0)
    x = torch.from_numpy(rows)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        mean, logvar = model.encode(x)
        out = model.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
        kl = (mean.square() + logvar.exp() - logvar - 1).sum(dim=1).mean()
        optimiser.zero_grad()
        (loss(out, x) + 1e-3 * kl).backward()
        optimiser.step()
    return model.eval()


def hints(model: nn.Module, rows: np.ndarray, **options: Any) -> list[str]:
    config = ExportConfig(layout="features", **options)
    shared = split_rows(rows, None, None, config)
    built = build_graphs(recipe_of(model), shared, config, example=None, scale_form=None, codebook=None)
    return likelihood_hints(built, shared)


def binary_rows() -> np.ndarray:
    return (unit_rows() > 0.5).astype(np.float32)


class CallsCrossEntropy(Tutorial):
    """Its own loss is a cross-entropy."""

    def loss(self, x: Tensor) -> Tensor:
        return F.binary_cross_entropy(self(x)[0], x)


class HoldsL1(Tutorial):
    """It keeps its loss as a part."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = nn.L1Loss()


class CallsBoth(CallsCrossEntropy):
    """A cross-entropy beside the loss of rows, as of a model with a classifier or a critic inside."""

    def other(self, x: Tensor) -> Tensor:
        return F.mse_loss(self(x)[0], x)


class Pair(Tutorial):
    """A decoder with a spread of its own."""

    def __init__(self, *, positive: bool) -> None:
        super().__init__()
        self.spread, self.positive = nn.Linear(2, 6), positive

    def decode(self, z: Tensor) -> Any:
        second = self.spread(z)
        return self.decoder(z), F.softplus(second) + 1e-3 if self.positive else second


def nll(variance: Callable[[Tensor], Tensor]) -> Loss:
    return lambda out, x: F.gaussian_nll_loss(out[0], x, variance(out[1]))


UNIT, BINARY = unit_rows(), binary_rows()
SCALED = (2 * UNIT - 0.6).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "rows", "loss", "options", "remedy"),
    [
        (Tutorial(nn.Sigmoid()), BINARY, F.binary_cross_entropy, {}, "100% of.*pass --likelihood bernoulli$"),
        (Tutorial(nn.Sigmoid()), BINARY, F.binary_cross_entropy, {"likelihood": "gaussian", "variance": 0.1},
         "scored by gaussian.*pass --likelihood bernoulli$"),
        (CallsCrossEntropy(nn.Sigmoid()), UNIT, F.binary_cross_entropy, {},
         "calls binary_cross_entropy.*pass --likelihood bernoulli$"),
        (HoldsL1(), UNIT, F.l1_loss, {}, "calls L1Loss.*pass --likelihood laplace$"),
        (Tutorial(nn.Sigmoid()), UNIT, F.mse_loss, {"likelihood": "bernoulli", "logits": True}, "leave --logits out$"),
        (Pair(positive=True), UNIT, nll(torch.square), {"likelihood": "gaussian"},
         r"positive everywhere.*2 \* torch.log\(s\)"),
        (Pair(positive=True), UNIT, nll(lambda v: v), {"likelihood": "gaussian"}, r"if it is a variance v, torch.log"),
    ],
)  # fmt: skip
def test_another_likelihood_is_named(
    model: Tutorial, rows: np.ndarray, loss: Loss, options: dict[str, Any], remedy: str
) -> None:
    (line,) = hints(fitted(model, rows, loss), rows, **options)
    assert re.search(remedy, line), line


@pytest.mark.parametrize(
    ("model", "rows", "loss", "options"),
    [
        (Tutorial(nn.Sigmoid()), BINARY, F.binary_cross_entropy, {"likelihood": "bernoulli"}),
        (Tutorial(), BINARY, F.binary_cross_entropy_with_logits, {"likelihood": "bernoulli", "logits": True}),
        (Tutorial(nn.Sigmoid()), UNIT, F.mse_loss, {}),
        (Tutorial(), BINARY, F.mse_loss, {}),
        (Tutorial(nn.Tanh()), UNIT, F.mse_loss, {}),
        (CallsBoth(nn.Sigmoid()), UNIT, F.mse_loss, {}),
        (CallsCrossEntropy(), SCALED, F.mse_loss, {}),
        (HoldsL1(), UNIT, F.l1_loss, {"likelihood": "laplace"}),
        (Pair(positive=False), UNIT, nll(torch.exp), {"likelihood": "gaussian"}),
        (Tutorial(lambda x: 0.1 * x - 0.2), UNIT, lambda out, x: out.sum() * 0, {}),  # of random weights
    ],
)
def test_a_sound_model_hears_nothing(model: Tutorial, rows: np.ndarray, loss: Loss, options: dict[str, Any]) -> None:
    assert hints(fitted(model, rows, loss), rows, **options) == []


def test_a_model_that_has_not_learned_yet_hears_nothing_of_its_spread() -> None:
    model = fitted(Pair(positive=False), UNIT, nll(torch.exp), steps=20)
    assert hints(model, UNIT, likelihood="gaussian") == []


class HalfOfTanh(Tutorial):
    """Rebuilds rows that have a negative value; of rows in [0, 1] it rebuilds half of the spread."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        wanted = torch.where(x.amin(1, keepdim=True) < 0, x, 0.5 * x + 0.25)
        return torch.atanh(wanted.clamp(-0.999, 0.999)), torch.zeros_like(x)

    def decode(self, z: Tensor) -> Tensor:
        return torch.tanh(z)


def test_tanh_fed_from_0_to_1_with_a_fit_that_passes_is_named() -> None:
    (line,) = hints(HalfOfTanh(), UNIT)
    assert re.search(r"fits better \(R² 1\.00 in place of 0\.7\d\).*pass --offset 0\.5 --scale 0\.5$", line), line


class LeavesLater(Tutorial):
    """Its decoder gives probabilities for few rows, and values above 1 for a larger one."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2], torch.zeros_like(x[:, :2])

    def decode(self, z: Tensor) -> Tensor:
        return z[:, :1].expand(-1, 6) * 2


def test_values_above_1_on_later_rows_are_no_probabilities() -> None:
    rows = 0.4 * unit_rows()
    rows[100:] = unit_rows()[100:]  # it is adapted with the first ones
    with pytest.raises(AdaptError, match=r"decode gives values from .* which are no probabilities"):
        hints(LeavesLater(), rows, likelihood="bernoulli")


def test_the_report_of_an_export_holds_the_line(tmp_path: Path) -> None:
    model = fitted(Tutorial(nn.Sigmoid()), BINARY, F.binary_cross_entropy)
    report = export(model, tmp_path / "m.vaeb", calibration=BINARY, config=ExportConfig(layout="features"))
    assert [line for line in report.warnings if "--likelihood bernoulli" in line] != []
