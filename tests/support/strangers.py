"""VAEs as strangers write them: other method names, spatial latents, other scale heads, noise inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Painter(nn.Module):
    """Own method names, a spatial latent (2, 4, 4), a log-std head, batch norm and group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 4, 2, 1),
            nn.GroupNorm(4, 8),
            nn.SiLU(),
        )
        self.where, self.how_sure = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)
        self.brush = nn.Sequential(
            nn.ConvTranspose2d(2, 8, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Sigmoid()
        )

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(x)
        return self.where(seen), self.how_sure(seen)

    def paint(self, z: Tensor) -> Tensor:
        return self.brush(z)


class Plain(nn.Module):
    """The spelling of tutorials: encode gives (mean, logvar)."""

    def __init__(self, features: int = 6, latent: int = 2) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(features, 16), nn.ReLU())
        self.fc_mu, self.fc_var = nn.Linear(16, latent), nn.Linear(16, latent)
        self.outer = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, features))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x)
        return self.fc_mu(h), self.fc_var(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.outer(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.decode(z), mu, logvar


class LearnedVariance(Plain):
    """The decoder gives a mean and a log variance per element."""

    def __init__(self, features: int = 6) -> None:
        super().__init__(features)
        self.spread = nn.Linear(2, features)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.outer(z), self.spread(z).clamp(-6, 6)


class TinyEpsilon(Plain):
    """Divides by |x| + 1e-8: 0/0 on a black frame if an optimiser deletes the addition."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(x / (x.abs() + 1e-8))


class Sampler(Plain):
    """Samples inside encode."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = super().encode(x)
        return mean + torch.randn_like(mean) * torch.exp(0.5 * logvar), logvar


class FixedBatch(Plain):
    """Branches on the batch size in a way that bakes it in."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(x.reshape(3, 6))


class Branching(Plain):
    """Python branch on tensor values."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().encode(x if x.sum() > 0 else -x)
