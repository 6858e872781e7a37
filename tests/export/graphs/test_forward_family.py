"""A distribution that forward returns around the reconstruction is not dropped; units a model refuses are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import Plain
from torch import Tensor
from torch import distributions as td

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import AdaptError, InputError, load

ROWS = np.random.default_rng(0).uniform(0.05, 0.95, (120, 6)).astype(np.float32)
CONFIG = ExportConfig(false_positive_rate=0.05, allow_poor_fit=True)
HALVES = {"encode": lambda m, x: m.encode(x), "decode": lambda m, z: m.around(m.decode(z))}


class Around(Plain):
    """``decode`` gives a tensor, and only forward says what is around it."""

    def __init__(self, around: Callable[[Tensor], Any]) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.around = around

    def forward(self, x: Tensor) -> Any:
        out, mu, logvar = super().forward(x)
        return self.around(out), mu, logvar


class Hidden(Around):
    """No half has a name, so forward is cut."""

    encode = decode = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Any:
        h = self.inner(x)
        mu, logvar = self.fc_mu(h), self.fc_var(h)
        return self.around(self.outer(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))), mu, logvar


FAMILIES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "Bernoulli": (lambda o: td.Bernoulli(logits=o), "bernoulli"),
    "Normal": (lambda o: td.Independent(td.Normal(o, 0.3 * torch.ones_like(o)), 1), "gaussian"),
    "Laplace": (lambda o: {"recon": td.Laplace(o, torch.ones_like(o))}, "laplace"),
}


@pytest.mark.parametrize("kind", [Around, Hidden])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_that_only_forward_names_is_not_scored_by_squared_error(
    name: str, kind: type[Around], tmp_path: Path
) -> None:
    around, likelihood = FAMILIES[name]
    with pytest.raises(AdaptError, match=rf"{name}|sigmoid\(decode\(z\)\)") as caught:
        export(kind(around), tmp_path / "m.vaeb", calibration=ROWS, config=CONFIG)
    assert f"likelihood='{likelihood}'" in str(caught.value)


@pytest.mark.parametrize("name", ["Normal", "Laplace"])
def test_the_remedy_works(name: str, tmp_path: Path) -> None:
    model = Around(FAMILIES[name][0])
    export(model, tmp_path / "m.vaeb", calibration=ROWS, config=CONFIG, **HALVES)
    with torch.no_grad(), load(tmp_path / "m.vaeb", device="cpu", threads=1) as vae:
        given = model.around(model.decode(model.encode(torch.from_numpy(ROWS))[0]))
        given = given["recon"] if isinstance(given, dict) else given
        loss = -given.log_prob(torch.from_numpy(ROWS)).reshape(len(ROWS), -1).sum(1)
        np.testing.assert_allclose(vae.score(ROWS).reconstruction, loss, rtol=1e-4)


class Divides(Plain):
    """A Normal of its own refuses the std that 0 to 255 gives."""

    def encode(self, x: Tensor) -> Any:
        h = torch.relu(self.inner(x))
        return td.Normal(self.fc_mu(h), torch.exp(-20.0 * h[:, :2].abs() - 0.1))


def test_units_that_a_model_raises_on_are_told_from_those_it_takes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Divides()
    with pytest.raises(AdaptError, match=r"(?s)left its domain.*It takes the rows with --scale 255: pass") as caught:
        export(model, tmp_path / "m.vaeb", calibration=(255 * ROWS).astype(np.uint8), config=CONFIG)
    assert "Its first layer" not in str(caught.value)


def test_rows_outside_the_unit_interval_are_refused_with_the_scale_that_mends_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ExportConfig(false_positive_rate=0.05, likelihood="bernoulli", logits=True)
    with pytest.raises(InputError, match=r"needs values in \[0, 1\].*: pass --scale 255, or take"):
        export(Plain(), tmp_path / "m.vaeb", calibration=(255 * ROWS).astype(np.uint8), config=config)
