"""Models that are exported for generation: a decoder of labels, a conditional VAE, a VQ model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelPainter(nn.Module):
    """A decoder alone: a latent of 3 values and a label of 3 kinds to 5 values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds, self.body = nn.Embedding(3, 4), nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 5))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.body(torch.cat([z, self.kinds(label)], 1))


class Labelled(nn.Module):
    """A conditional VAE of 6 features and 3 kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds, self.body = nn.Embedding(3, 4), nn.Linear(10, 4)
        self.back = nn.Linear(6, 6)

    def encode(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.body(torch.cat([x, self.kinds(label)], 1)).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        return self.back(torch.cat([z, self.kinds(label)], 1))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        mean, logvar = self.encode(x, label)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean), label)


class Quantised(nn.Module):
    """A VQ model: 6 features to 3 codes out of 8, of 2 values each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.codebook, self.back = nn.Linear(6, 6), nn.Embedding(8, 2), nn.Linear(6, 6)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x).view(-1, 3, 2)
        indices = ((h.unsqueeze(2) - self.codebook.weight) ** 2).sum(3).argmin(2)
        return indices, self.codebook(indices)

    def decode(self, indices: Tensor) -> Tensor:
        return self.back(self.codebook(indices).flatten(1))
