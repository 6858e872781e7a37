"""A model may call ``view`` on its rows and its latents, whatever their order in memory was before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load


class Pictures(nn.Module):
    """Three channels of 8 x 8, by convolution and ``view``: written as most tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.outer = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(2, 192)
        self.mean, self.logvar = nn.Linear(64, 2), nn.Linear(64, 2)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.convolution(x))
        h = h.view(h.size(0), -1)
        return self.mean(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.outer(z).view(-1, 3, 8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)), mean, logvar


class PicturesInForward(Pictures):
    """The same, to be cut: no half has a name, and ``flatten`` is traced as a view."""

    encode = decode = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = torch.relu(self.convolution(x)).flatten(1)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        return self.outer(z).view(-1, 3, 8, 8), mean, logvar


class Slices(nn.Module):
    """The mean of each step is a slice of one tensor, and the decoder takes all steps in one vector."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(40, 30)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.inner(x).chunk(2, -1)

    def decode(self, z: Tensor) -> Tensor:
        return self.outer(z.view(z.size(0), -1)).view(-1, 10, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)), mean, logvar


class SlicesInForward(Slices):
    """The same, to be cut."""

    encode = decode = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, logvar = self.inner(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        return self.outer(z.view(z.size(0), -1)).view(-1, 10, 3), mean, logvar


@pytest.mark.parametrize("kind", [Pictures, PicturesInForward, Slices, SlicesInForward])
def test_a_model_that_calls_view_is_exported_and_gives_its_own_figures(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, pictures = kind(), issubclass(kind, Pictures)
    rng = np.random.default_rng(0)
    rows = rng.random((150, 8, 8, 3), np.float32) if pictures else rng.random((150, 10, 3), np.float32)
    config = ExportConfig(name="view", layout="nhwc" if pictures else "any", allow_poor_fit=True)
    export(model, tmp_path / "view.vaeb", calibration=rows, config=config)
    fed = torch.from_numpy(rows).permute(0, 3, 1, 2).contiguous() if pictures else torch.from_numpy(rows)
    with torch.no_grad():
        mean = model.eval()(fed)[1]
    with load(tmp_path / "view.vaeb", device="cpu") as vae:
        np.testing.assert_allclose(vae.encode(rows).mean, mean.numpy(), rtol=1e-5, atol=1e-6)
