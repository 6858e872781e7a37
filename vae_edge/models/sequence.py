"""Temporal convolutional VAE over a fixed window, many-to-many."""

from __future__ import annotations

from torch import Tensor, nn

from ._base import ReferenceVae
from .config import ModelConfig


class SequenceVae(ReferenceVae):
    """Rows (time, feature); ``depth`` halvings of the time axis, channels double from ``width``."""

    def __init__(self, config: ModelConfig) -> None:
        time, features = config.input_shape
        lengths, widths = [time], [config.width << i for i in range(config.depth)]
        for _ in widths:
            lengths.append((lengths[-1] + 1) // 2)
        flat = widths[-1] * lengths[-1]
        super().__init__(config, features=flat)
        self._lengths, self._top = lengths, (widths[-1], lengths[-1])
        stages = list(zip([features, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(nn.Sequential(nn.Conv1d(i, o, 5, stride=2, padding=2), nn.SiLU()) for i, o in stages)
        self.expand = nn.Linear(config.latent_dim, flat)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose1d(o, i, 4, stride=2, padding=1), nn.SiLU())
            for i, o in [(config.width, stages[0][1]), *stages[1:]][::-1]
        )
        self.output = nn.Conv1d(config.width, features * (2 if config.learned_variance else 1), 5, padding=2)

    def _features(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for stage in self.down:
            x = stage(x)
        return x.flatten(1)

    def _raw_output(self, z: Tensor) -> Tensor:
        time, features = self.config.input_shape
        x = self.expand(z).reshape(z.shape[0], *self._top)
        for stage, length in zip(self.up, self._lengths[-2::-1], strict=True):
            x = stage(x)[:, :, :length]
        raw: Tensor = self.output(x).reshape(z.shape[0], -1, features, time).transpose(2, 3)
        return raw
