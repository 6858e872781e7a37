"""Codebooks and compression transforms, written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Quantised(nn.Module):
    """VQ-VAE as tutorials write it: distances, argmin, an embedding, straight-through."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 4, 2, 1))
        self.codebook = nn.Embedding(12, 4)
        self.up = nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))

    def quantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down(x).permute(0, 2, 3, 1)
        distances = (h.unsqueeze(-2) - self.codebook.weight).square().sum(-1)
        indices = distances.argmin(-1)
        return indices, self.codebook(indices).permute(0, 3, 1, 2)

    def paint(self, indices: Tensor) -> Tensor:
        return self.up(self.codebook(indices).permute(0, 3, 1, 2))


class LowerBound(torch.autograd.Function):
    """max(x, bound) with a gradient of its own, as compression models use it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Gdn(nn.Module):
    """Generalised divisive normalisation (Ballé, Laparra & Simoncelli 2016)."""

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        beta, gamma = LowerBound.apply(self.beta, 1e-3), LowerBound.apply(self.gamma, 0.0)
        norm = F.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))


class Compression(nn.Module):
    """Analysis and synthesis transforms of a learned codec, and an entropy model nobody exports."""

    def __init__(self) -> None:
        super().__init__()
        self.g_a = nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2), Gdn(8), nn.Conv2d(8, 4, 5, 2, 2))
        self.g_s = nn.Sequential(
            nn.ConvTranspose2d(4, 8, 5, 2, 2, 1), Gdn(8, inverse=True), nn.ConvTranspose2d(8, 1, 5, 2, 2, 1)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.g_a(x)
        return {"x_hat": self.g_s(y + torch.empty_like(y).uniform_(-0.5, 0.5))}


class Distances(Quantised):
    """A codebook looked up by torch.cdist, which only the older of PyTorch's two exporters knows."""

    def quantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down(x).permute(0, 2, 3, 1)
        indices = torch.cdist(h.reshape(1, -1, 4), self.codebook.weight[None])[0].argmin(-1).reshape(h.shape[:-1])
        return indices, self.codebook(indices).permute(0, 3, 1, 2)
