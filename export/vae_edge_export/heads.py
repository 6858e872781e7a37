"""The three graphs as torch modules. ``ScoreGraph`` is the one definition of a score: it is
traced into the bundle, and the same object is what parity and the verdict gate compare with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.specs import Layout

from .adapt import AdaptedVae
from .config import ExportConfig
from .likelihoods import expectation, kl_to_standard_normal, negative_log_likelihood


class DataUnits(nn.Module):
    """Raw rows to model units and back: layout, then x_model = (x - offset) / scale."""

    offset: Tensor
    scale: Tensor

    def __init__(self, config: ExportConfig, input_shape: tuple[int, ...]) -> None:
        """Make the constants; ``input_shape`` is of one row in model layout."""
        super().__init__()
        self.layout: Layout = config.layout
        self.to_uint8 = config.output_dtype == "uint8"
        channels_first = config.layout in ("nchw", "nhwc")
        count = len(config.offset)
        axis_size = input_shape[0] if channels_first else input_shape[-1]
        if count not in (1, axis_size) or (count > 1 and config.layout == "any"):
            raise OptionError(
                f"offset and scale hold {count} values; layout '{config.layout}' takes 1"
                + ("" if config.layout == "any" else f" or {axis_size}")
            )
        shape = (count, 1, 1) if channels_first else (count,)
        self.register_buffer("offset", torch.tensor(config.offset, dtype=torch.float32).reshape(shape))
        self.register_buffer("scale", torch.tensor(config.scale, dtype=torch.float32).reshape(shape))

    def to_model(self, x: Tensor) -> Tensor:
        """Raw (n, *row_shape) uint8 or float32 to model units."""
        x = x.to(self.offset.dtype)
        if self.layout == "nhwc":
            x = x.permute(0, 3, 1, 2)
        return (x - self.offset) / self.scale

    def to_data(self, x: Tensor) -> Tensor:
        """Model units to data units, in the raw layout."""
        x = x * self.scale + self.offset
        if self.to_uint8:
            x = x.round().clamp(0.0, 255.0).to(torch.uint8)
        return self.to_raw_layout(x)

    def to_raw_layout(self, x: Tensor) -> Tensor:
        """Model layout to raw layout, values untouched."""
        return x.permute(0, 2, 3, 1) if self.layout == "nhwc" else x


class EncodeGraph(nn.Module):
    """Raw rows to the posterior: x -> mean, logvar; or one code; or indices and z_q."""

    def __init__(self, vae: AdaptedVae, units: DataUnits) -> None:
        super().__init__()
        self.vae, self.units, self.halves = vae.module, units, vae

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """X (n, *row_shape) to two of (n, *latent_shape), in the latent units of the bundle."""
        found = self.halves.encode(self.vae, self.units.to_model(x), *_given(condition))
        offset, scale = self.halves.latent_offset, self.halves.latent_scale
        if (offset, scale) == (0.0, 1.0) or self.halves.kind == "codes":
            return found
        mean = (found[0] - offset) * scale
        return (mean, found[1] + 2.0 * math.log(scale)) if len(found) > 1 else (mean,)


class DecodeGraph(nn.Module):
    """Latents to rows in data units: z -> x_hat."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config = vae.module, units, vae, config

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Z (n, *latent_shape) to (n, *row_shape)."""
        if (self.halves.latent_offset, self.halves.latent_scale) != (0.0, 1.0):
            z = z / self.halves.latent_scale + self.halves.latent_offset
        x_hat, spread = self.halves.decode(self.vae, z, *_given(condition))
        return self.units.to_data(expectation(x_hat, spread, self.config.likelihood, logits=self.config.logits))


class ScoreGraph(nn.Module):
    """Raw rows to score, reconstruction, kl (n,) where there is one, and map (n, *row_shape), in nats."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config = vae.module, units, vae, config

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """Preprocess, encode, take the posterior mean, decode, score. The KL is the model's own: in its units."""
        config, given = self.config, _given(condition)
        x = self.units.to_model(x)
        found = self.halves.encode(self.vae, x, *given)
        x_hat, spread = self.halves.decode(self.vae, found[0], *given)
        share = negative_log_likelihood(x, x_hat, spread, config.likelihood, config.variance, logits=config.logits)
        reconstructed = share.flatten(1).sum(1)
        parts: tuple[Tensor, ...] = (reconstructed,)
        score = config.reconstruction_weight * reconstructed
        if config.kl_weight is not None:
            kl = kl_to_standard_normal(found[0], found[1])
            parts, score = (reconstructed, kl), score + config.kl_weight * kl
        if config.transform == "sqrt":
            score = torch.sqrt(score)
        return score, *parts, self.units.to_raw_layout(share)


def _given(condition: Tensor | None) -> tuple[Tensor, ...]:
    return () if condition is None else (condition,)
