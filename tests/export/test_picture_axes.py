"""Rows that are pictures by their shape, given without a layout or with the wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.preparations import channel_axis, pictures_said
from vae_edge_runtime import AdaptError


class Convolutions(nn.Module):
    """Pictures of 16 x 16, channels first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 8))
        self.decoder = nn.Sequential(nn.Linear(4, channels * 256), nn.Unflatten(1, (channels, 16, 16)))

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encoder(x).chunk(2, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((150, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [
        ((1, 28, 28), "any", "nchw"),
        ((3, 32, 32), "any", "nchw"),
        ((32, 48, 3), "any", "nhwc"),
        ((28, 28, 1), "any", "nhwc"),
        ((4, 32, 32), "any", "nchw"),
        ((3, 32, 32), "nchw", None),
        ((28, 28), "any", None),
        ((16, 32, 32), "any", None),  # a feature map
        ((3, 4, 4), "any", None),
        ((2, 2, 8, 8), "any", None),  # a clip
    ],
)
def test_pictures_are_known_by_their_shape(shape: tuple[int, ...], layout: str, axis: str | None) -> None:
    assert channel_axis(shape, layout) == axis  # type: ignore[arg-type]
    assert bool(pictures_said(shape, layout)) == (axis is not None)  # type: ignore[arg-type]


def test_pictures_without_a_layout_are_exported_with_a_word(tmp_path: Path) -> None:
    config = ExportConfig(allow_poor_fit=True)
    report = export(Convolutions(1), tmp_path / "m.vaeb", calibration=rows(1, 16, 16), config=config)
    assert [line for line in report.evidence if "look like pictures" in line and "--layout nchw" in line] != []


@pytest.mark.parametrize(
    ("shape", "layout", "remedy"),
    [
        ((16, 16, 3), "any", "channels before height and width: pass --layout nhwc"),
        ((16, 16, 3), "nchw", "channels before height and width: pass --layout nhwc"),
        ((16, 16), "any", r"in NumPy rows\[:, None\], with --layout nchw"),
    ],
)
def test_pictures_of_other_axes_are_refused_with_the_layout(
    tmp_path: Path, shape: tuple[int, ...], layout: str, remedy: str
) -> None:
    model = Convolutions(shape[2] if len(shape) == 3 else 1)
    with pytest.raises(AdaptError, match=f"It takes the rows with .*{remedy}$"):
        export(model, tmp_path / "m.vaeb", calibration=rows(*shape), config=ExportConfig(layout=layout))  # type: ignore[arg-type]


def test_the_layout_that_is_named_works(tmp_path: Path) -> None:
    config = ExportConfig(layout="nhwc", allow_poor_fit=True)
    report = export(Convolutions(3), tmp_path / "m.vaeb", calibration=rows(16, 16, 3), config=config)
    assert set(report.channels) == {"top", "peak"}
