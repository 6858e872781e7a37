"""What the reference models share: two heads, and a decoder output that fits the likelihood."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import ModelConfig

_LOGVAR_RANGE = (-8.0, 8.0)
"""Of a learned output variance: a pixel that never changes would drive it to -infinity."""


class Gaussian(NamedTuple):
    """The posterior of rows: mean and logvar, (n, latent_dim) each."""

    mean: Tensor
    logvar: Tensor


class ReferenceVae(nn.Module):
    """Subclasses give ``_features(x) -> (n, features)`` and ``_raw_output(z)`` with 1 or 2 values per element."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.mean_head = nn.Linear(features, config.latent_dim)
        self.logvar_head = nn.Linear(features, config.latent_dim)

    def _features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _raw_output(self, z: Tensor) -> Tensor:
        """(n, k, *input_shape): k = 2 with a learned variance, else 1."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Gaussian:
        """Posterior of rows (n, *input_shape): mean and logvar, (n, latent_dim) each."""
        features = self._features(x)
        return Gaussian(self.mean_head(features), self.logvar_head(features))

    def decode(self, z: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Rows for latents (n, latent_dim): x_hat, or (x_hat, x_logvar), (n, *input_shape) each.

        With a bernoulli likelihood x_hat holds logits.
        """
        raw = self._raw_output(z)
        if self.config.learned_variance:
            return raw[:, 0], raw[:, 1].clamp(*_LOGVAR_RANGE)
        return raw[:, 0]

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Training pass with standard normal ``noise`` (n, latent_dim), drawn where none is given.

        Returns:
            mean, logvar, x_logvar, x_hat.
        """
        mean, logvar = self.encode(x)
        noise = torch.randn_like(mean) if noise is None else noise
        decoded = self.decode(mean + torch.exp(0.5 * logvar) * noise)
        x_hat, x_logvar = decoded if isinstance(decoded, tuple) else (decoded, None)
        return mean, logvar, x_logvar, x_hat
