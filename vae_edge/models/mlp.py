"""Fully connected VAE, for tables, feature vectors and short windows."""

from __future__ import annotations

from torch import Tensor, nn

from ._base import ReferenceVae
from .config import ModelConfig


class MlpVae(ReferenceVae):
    """``depth`` hidden layers of ``width`` units on each side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, features=config.width)
        outputs = config.elements * (2 if config.learned_variance else 1)
        self.encoder = _layers(config.elements, config.width, config.depth)
        self.decoder = _layers(config.latent_dim, config.width, config.depth)
        self.output = nn.Linear(config.width, outputs)

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x.flatten(1))
        return features

    def _raw_output(self, z: Tensor) -> Tensor:
        raw: Tensor = self.output(self.decoder(z)).reshape(z.shape[0], -1, *self.config.input_shape)
        return raw


def _layers(inputs: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), nn.SiLU()]
    return nn.Sequential(*layers)
