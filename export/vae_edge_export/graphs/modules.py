"""The graphs as torch modules. ``ScoreGraph`` is the one definition of a score: it is
traced into the bundle, and the same object is what parity and the verdict gate compare with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.specs import InputSpec, Layout, ScoreSpec

from ..config import ExportConfig
from ..halves.vae import AdaptedVae
from ..preparations import channels_first
from ..rows import model_shape
from .beside import Beside
from .head_formulas import CONSTANTS, FORMULAS, SAMPLED_FORMULAS, Draws, Terms
from .likelihoods import expectation, kl_to_standard_normal, negative_log_likelihood, row_sum
from .residuals import Smoothing


class DataUnits(nn.Module):
    """Raw rows to model units and back: layout, then x_model = (x - offset) / scale."""

    offset: Tensor
    scale: Tensor

    def __init__(self, config: ExportConfig, input_shape: tuple[int, ...], beside: Beside | None = None) -> None:
        """Make the constants; ``input_shape`` is of one row in model layout."""
        super().__init__()
        self.beside = beside or Beside()
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
        self.shifts, self.scales = set(config.offset) != {0.0}, set(config.scale) != {1.0}
        self.register_buffer("offset", torch.tensor(config.offset, dtype=torch.float32).reshape(shape))
        self.register_buffer("scale", torch.tensor(config.scale, dtype=torch.float32).reshape(shape))

    def to_model(self, x: Tensor) -> Tensor:
        """Raw (n, *row_shape) uint8 or float32 to model units."""
        x = x.to(self.offset.dtype)
        x = channels_first(x, self.layout)
        # What changes nothing is not written into the graph: engines run it over every element.
        x = x - self.offset if self.shifts else x
        return x / self.scale if self.scales else x

    def to_data(self, x: Tensor) -> Tensor:
        """Model units to data units, in the raw layout."""
        x = x * self.scale if self.scales else x
        x = x + self.offset if self.shifts else x
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
        beside = self.units.beside
        x = beside.row(self.units.to_model(x), condition)
        encoded = self.halves.encode(self.vae, x, *beside.to_encode(condition))
        scale = self.halves.latent_scale
        if self.halves.kind == "codes":
            return encoded
        mean = bundle_latents(encoded[0], self.halves)
        if len(encoded) == 1:
            return (mean,)
        logvar = encoded[1]
        return mean, logvar if scale == 1.0 else logvar + 2.0 * math.log(scale)


class DecodeGraph(nn.Module):
    """Latents to rows in data units: z -> x_hat."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config = vae.module, units, vae, config

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Z (n, *latent_shape) to (n, *row_shape)."""
        if (self.halves.latent_offset, self.halves.latent_scale) != (0.0, 1.0):
            z = z / self.halves.latent_scale + self.halves.latent_offset
        x_hat, spread = self.halves.decode(self.vae, z, *self.units.beside.to_decode(condition))
        units = self.units.beside.target or self.units
        return units.to_data(expectation(x_hat, spread, self.config.likelihood, logits=self.config.logits))


class ScoreGraph(nn.Module):
    """Raw rows to the heads that one decode gives, in nats: score, reconstruction, kl (n,) where there is
    one, further heads (n,), map (n, *row_shape), and the code where a head outside the graph needs it.
    """

    def __init__(
        self,
        vae: AdaptedVae,
        units: DataUnits,
        config: ExportConfig,
        spec: ScoreSpec,
        row: InputSpec,
        whitening: nn.Module | None = None,
    ) -> None:
        """``whitening``: residuals to the map. Raises OptionError where rows do not have what a head looks at."""
        super().__init__()
        self.whitening = whitening
        self.vae, self.units, self.halves, self.config, self.spec = vae.module, units, vae, config, spec
        self.image = row.layout in ("nchw", "nhwc")
        shape = model_shape(row.shape, row.layout)
        if not self.image and (wrong := [head for head in spec.heads if HEADS[head].images_only]):
            raise OptionError(f"head '{min(wrong)}' is for images, the layout is '{row.layout}'")
        self.smoothing = Smoothing(spec.map_sigma, row.layout, shape) if spec.map_sigma else None
        span = max(row.high - row.low, 1e-6) / float(units.scale.min())
        self.wanted = (spec.heads[0], *spec.fused)
        self.constants = nn.ModuleDict({h: CONSTANTS[h](span, shape) for h in self.wanted if h in CONSTANTS})

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """Preprocess, encode, take the posterior mean, decode, score. The KL is the model's own: in its units."""
        config, spec, beside = self.config, self.spec, self.units.beside
        x = beside.row(self.units.to_model(x), condition)
        encoded = self.halves.encode(self.vae, x, *beside.to_encode(condition))
        x_hat, spread = self.halves.decode(self.vae, encoded[0], *beside.to_decode(condition))
        expected = expectation(x_hat, spread, config.likelihood, logits=config.logits)
        x = beside.compared(x, condition, expected)
        share = negative_log_likelihood(x, x_hat, spread, config.likelihood, config.variance, logits=config.logits)
        share = beside.counted(share, condition)
        reconstruction = row_sum(share)
        kl = None if spec.kl_weight is None else kl_to_standard_normal(encoded[0], encoded[1])
        if self.whitening is not None:
            share = self.whitening(x - expected)
        if self.smoothing is not None:
            share = self.smoothing(share)
        terms = Terms(spec, x, expected, share, self.image, reconstruction, kl, self.constants)
        score, *further = (FORMULAS[head](terms) for head in self.wanted)
        if config.transform == "sqrt":
            score = torch.sqrt(score)
        parts = (reconstruction,) if kl is None else (reconstruction, kl)
        code = (bundle_latents(encoded[0], self.halves),) if spec.reads_codes else ()
        return score, *parts, *further, self.units.to_raw_layout(share), *code


class SampledGraph(nn.Module):
    """Raw rows and noise to the heads that decode several draws of the posterior, (n,) each, in nats."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig, spec: ScoreSpec) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config, self.spec = vae.module, units, vae, config, spec

    def forward(self, x: Tensor, beside: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """X (n, *row_shape), the condition if any, noise (n, draws, *latent_shape); rows are repeated per draw."""
        given = None if noise is None else beside
        noise = beside if noise is None else noise
        roles = self.units.beside
        draws = self.spec.draws
        x = roles.row(self.units.to_model(x), given)
        encoded = self.halves.encode(self.vae, x, *roles.to_encode(given))
        mean, logvar = encoded[0].unsqueeze(1), encoded[1].unsqueeze(1)
        z = mean + torch.exp(0.5 * logvar) * noise
        rows, many = _repeated(x, draws), None if given is None else _repeated(given, draws)
        x_hat, spread = self.halves.decode(self.vae, z.flatten(0, 1), *roles.to_decode(many))
        config = self.config
        rows = roles.compared(rows, many, expectation(x_hat, spread, config.likelihood, logits=config.logits))
        share = negative_log_likelihood(rows, x_hat, spread, config.likelihood, config.variance, logits=config.logits)
        share = roles.counted(share, many)
        drawn = Draws(row_sum(share).reshape(-1, draws), noise, z, logvar)
        return tuple(SAMPLED_FORMULAS[head](drawn) for head in self.spec.sampled)


def bundle_latents(mean: Tensor, vae: AdaptedVae) -> Tensor:
    """Codes of the model in the latent units of the bundle."""
    if (vae.latent_offset, vae.latent_scale) == (0.0, 1.0):
        return mean
    return (mean - vae.latent_offset) * vae.latent_scale


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so often: (n, ...) to (n * times, ...)."""
    return rows.unsqueeze(1).expand(-1, times, *[-1] * (rows.ndim - 1)).flatten(0, 1)
