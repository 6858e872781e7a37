"""Small colour pictures with a texture, and a bundle of a model that rebuilds the texture without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export

SIDE = 24


def pictures(n: int, *, seed: int) -> NDArray[np.uint8]:
    """Normal pictures (n, SIDE, SIDE, 3): waves of one of many phases, and noise of 4 levels."""
    rng = np.random.default_rng(seed)
    across = np.arange(SIDE) / SIDE
    phases = rng.random((n, 1, 1, 1))
    waves = np.sin(2 * np.pi * (across[None, :, None, None] + across[None, None, :, None] + phases))
    colour = np.array([60.0, 40.0, 20.0])
    return np.clip(np.round(120 + colour * waves + 4 * rng.normal(size=(n, SIDE, SIDE, 3))), 0, 255).astype(np.uint8)


def spoilt(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same pictures with a bright square of 3 x 3 pixels at rows 4 to 6, columns 9 to 11."""
    rows = rows.copy()
    rows[:, 4:7, 9:12] = 255
    return rows


class Waves(nn.Module):
    """Encodes the phase as two numbers, and decodes the wave from them."""

    def __init__(self) -> None:
        super().__init__()
        across = torch.arange(SIDE) / SIDE
        angle = 2 * torch.pi * (across[:, None] + across[None, :])
        colour = torch.tensor([60.0, 40.0, 20.0]) / 255
        wave = torch.stack([torch.sin(angle), torch.cos(angle)])[:, None] * colour[None, :, None, None]
        self.level = nn.Parameter(torch.full((1,), 120.0 / 255))
        self.basis = nn.Parameter(wave.reshape(2, -1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.basis / self.basis.square().sum(1, keepdim=True)
        mean = (x.flatten(1) - self.level) @ weight.T
        return mean, mean * 0.0 - 4.0

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.basis + self.level).reshape(-1, 3, SIDE, SIDE)


def picture_bundle(path: Path, *heads: str, **options: object) -> Path:
    """A bundle that scores by ``heads``, the first of which decides; 120 calibration pictures."""
    config = ExportConfig(
        name="waves",
        layout="nhwc",
        scale=(255.0,),
        heads=heads,
        false_positive_rate=0.05,
        parity_rtol=1e-3,
        **options,  # type: ignore[arg-type]
    )
    export(
        Waves(), path, calibration=pictures(120, seed=0), config=config,
        encode=lambda model, x: model.encode(x), decode=lambda model, z: model.decode(z), scale_form="logvar",
    )  # fmt: skip
    return path


def large_pictures(n: int, height: int, width: int, *, seed: int) -> NDArray[np.uint8]:
    """Normal pictures (n, height, width, 3) whose every tile of SIDE pixels is one of ``pictures``."""
    rng = np.random.default_rng(seed)
    angle = (np.arange(height)[:, None] + np.arange(width)[None, :]) / SIDE
    waves = np.sin(2 * np.pi * (angle[None, :, :, None] + rng.random((n, 1, 1, 1))))
    noisy = 120 + np.array([60.0, 40.0, 20.0]) * waves + 4 * rng.normal(size=(n, height, width, 3))
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
