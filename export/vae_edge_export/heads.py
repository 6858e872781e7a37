"""The three graphs as torch modules. ``ScoreGraph`` is the one definition of a score: it is
traced into the bundle, and the same object is what parity and the verdict gate compare with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.manifest import Layout, Likelihood

from .adapt import AdaptedVae, posterior, reconstruction
from .config import ExportConfig

_SMALLEST_PROBABILITY = 1e-6
_LOG_2_PI = math.log(2 * math.pi)


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
    """Raw rows to the posterior: x -> mean, logvar."""

    def __init__(self, vae: AdaptedVae, units: DataUnits) -> None:
        super().__init__()
        self.vae, self.units, self.halves = vae.module, units, vae

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X (n, *row_shape) to two of (n, *latent_shape)."""
        return posterior(self.halves, self.vae, self.units.to_model(x))


class DecodeGraph(nn.Module):
    """Latents to rows in data units: z -> x_hat."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, *, logits: bool = False) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.logits = vae.module, units, vae, logits

    def forward(self, z: Tensor) -> Tensor:
        """Z (n, *latent_shape) to (n, *row_shape)."""
        x_hat = reconstruction(self.halves, self.vae, z)[0]
        return self.units.to_data(torch.sigmoid(x_hat) if self.logits else x_hat)


class ScoreGraph(nn.Module):
    """Raw rows to score, reconstruction, kl (n,) and map (n, *row_shape), all in nats."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config = vae.module, units, vae, config

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Preprocess, encode, take the posterior mean, decode, score."""
        x = self.units.to_model(x)
        mean, logvar = posterior(self.halves, self.vae, x)
        x_hat, x_logvar = reconstruction(self.halves, self.vae, mean)
        config = self.config
        share = negative_log_likelihood(x, x_hat, x_logvar, config.likelihood, config.variance, logits=config.logits)
        reconstructed = share.flatten(1).sum(1)
        kl = kl_to_standard_normal(mean, logvar)
        score = self.config.reconstruction_weight * reconstructed + self.config.kl_weight * kl
        return score, reconstructed, kl, self.units.to_raw_layout(share)


def negative_log_likelihood(
    x: Tensor,
    x_hat: Tensor,
    x_logvar: Tensor | None,
    likelihood: Likelihood,
    variance: float | None,
    *,
    logits: bool = False,
) -> Tensor:
    """-log p(x|z) per element in nats, the shape of ``x`` (Kingma & Welling 2013, appendix C).

    mse: (x - x_hat)^2, a Gaussian of variance 1/2 without its constant. bernoulli: binary
    cross-entropy, softplus(l) - x l on logits l, or with p held in [1e-6, 1 - 1e-6].
    gaussian: ((x - x_hat)^2 / v + log v + log 2 pi) / 2.
    """
    if likelihood == "bernoulli" and logits:
        # log(1 + e^l) without overflow, in operations every engine has.
        return torch.relu(x_hat) - x * x_hat + torch.log(1.0 + torch.exp(-torch.abs(x_hat)))
    if likelihood == "bernoulli":
        p = x_hat.clamp(_SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
        return -(x * torch.log(p) + (1.0 - x) * torch.log(1.0 - p))
    squared = torch.square(x - x_hat)
    if likelihood == "mse":
        return squared
    if variance is not None:
        return 0.5 * (squared / variance + (math.log(variance) + _LOG_2_PI))
    assert x_logvar is not None  # adapt() has checked the decoder
    return 0.5 * (squared * torch.exp(-x_logvar) + x_logvar + _LOG_2_PI)


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, I)) per row in nats, (n,) (Kingma & Welling 2013, appendix B)."""
    return 0.5 * (torch.square(mean) + torch.exp(logvar) - 1.0 - logvar).flatten(1).sum(1)
