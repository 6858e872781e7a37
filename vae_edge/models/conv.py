"""Convolutional VAE, for images of any size and number of channels."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ._base import ReferenceVae
from .config import ModelConfig


class ConvVae(ReferenceVae):
    """``depth`` halvings; the number of channels doubles with each, from ``width``.

    An odd axis n is halved to (n + 1) / 2; the way back doubles it and crops one off.
    """

    def __init__(self, config: ModelConfig) -> None:
        channels, *size = config.input_shape
        sizes, widths = [tuple(size)], [config.width << i for i in range(config.depth)]
        for _ in widths:
            sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
        features = widths[-1] * math.prod(sizes[-1])
        super().__init__(config, features=features)
        self._sizes, self._top = sizes, (widths[-1], *sizes[-1])
        stages = list(zip([channels, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.SiLU()) for i, o in stages
        )
        self.expand = nn.Linear(config.latent_dim, features)
        # Kernel 4, stride 2: every output pixel is covered by the same number of taps (no checkerboard).
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(o, i, 4, stride=2, padding=1), nn.BatchNorm2d(i), nn.SiLU())
            for i, o in [(config.width, stages[0][1]), *stages[1:]][::-1]
        )
        self.output = nn.Conv2d(config.width, channels * (2 if config.learned_variance else 1), 3, padding=1)

    def _features(self, x: Tensor) -> Tensor:
        for stage in self.down:
            x = stage(x)
        return x.flatten(1)

    def _raw_output(self, z: Tensor) -> Tensor:
        x = self.expand(z).reshape(z.shape[0], *self._top)
        for stage, (height, width) in zip(self.up, self._sizes[-2::-1], strict=True):
            x = stage(x)[:, :, :height, :width]
        raw: Tensor = self.output(x).reshape(z.shape[0], -1, *self.config.input_shape)
        return raw
