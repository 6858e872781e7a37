"""The graphs as torch modules. ``ScoreGraph`` is the one definition of a score: it is
traced into the bundle, and the same object is what parity and the verdict gate compare with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import IMAGE_HEADS, InputSpec, Layout, ScoreSpec

from ..config import ExportConfig
from ..halves.vae import AdaptedVae
from ..rows import model_shape
from .likelihoods import expectation, kl_to_standard_normal, negative_log_likelihood, row_sum
from .residuals import Smoothing, StructuralSimilarity, gradient_residual, peak, top_mean


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
        self.shifts, self.scales = set(config.offset) != {0.0}, set(config.scale) != {1.0}
        self.register_buffer("offset", torch.tensor(config.offset, dtype=torch.float32).reshape(shape))
        self.register_buffer("scale", torch.tensor(config.scale, dtype=torch.float32).reshape(shape))

    def to_model(self, x: Tensor) -> Tensor:
        """Raw (n, *row_shape) uint8 or float32 to model units."""
        x = x.to(self.offset.dtype)
        if self.layout == "nhwc":
            x = x.permute(0, 3, 1, 2)
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
        found = self.halves.encode(self.vae, self.units.to_model(x), *_given(condition))
        scale = self.halves.latent_scale
        if self.halves.kind == "codes":
            return found
        mean = bundle_latents(found[0], self.halves)
        if len(found) == 1:
            return (mean,)
        return mean, found[1] if scale == 1.0 else found[1] + 2.0 * math.log(scale)


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
    """Raw rows to the heads that one decode gives, in nats: score, reconstruction, kl (n,) where there is
    one, further heads (n,), map (n, *row_shape), and the code where a head outside the graph needs it.
    """

    def __init__(
        self, vae: AdaptedVae, units: DataUnits, config: ExportConfig, spec: ScoreSpec, row: InputSpec
    ) -> None:
        """Raises OptionError where rows do not have what a head looks at."""
        super().__init__()
        self.vae, self.units, self.halves, self.config, self.spec = vae.module, units, vae, config, spec
        self.image = row.layout in ("nchw", "nhwc")
        shape = model_shape(row.shape, row.layout)
        if not self.image and (wrong := set(spec.heads) & set(IMAGE_HEADS)):
            raise OptionError(f"head '{min(wrong)}' is for images, the layout is '{row.layout}'")
        self.smoothing = Smoothing(spec.map_sigma, row.layout, shape) if spec.map_sigma else None
        span = max(row.high - row.low, 1e-6) / float(units.scale.min())
        self.similarity = StructuralSimilarity(span, shape) if "ssim" in spec.heads else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        """Preprocess, encode, take the posterior mean, decode, score. The KL is the model's own: in its units."""
        config, spec, given = self.config, self.spec, _given(condition)
        x = self.units.to_model(x)
        found = self.halves.encode(self.vae, x, *given)
        x_hat, spread = self.halves.decode(self.vae, found[0], *given)
        share = negative_log_likelihood(x, x_hat, spread, config.likelihood, config.variance, logits=config.logits)
        values = {"reconstruction": row_sum(share)}
        if spec.kl_weight is not None:
            values["kl"] = kl_to_standard_normal(found[0], found[1])
        if self.smoothing is not None:
            share = self.smoothing(share)
        expected = expectation(x_hat, spread, config.likelihood, logits=config.logits)
        wanted = (spec.heads[0], *spec.fused)
        made = {head: self._head(head, values, share, x, expected) for head in wanted}
        score = made[spec.heads[0]]
        if config.transform == "sqrt":
            score = torch.sqrt(score)
        further = tuple(made[head] for head in spec.fused)
        code = (bundle_latents(found[0], self.halves),) if "mahalanobis" in spec.heads else ()
        return score, *values.values(), *further, self.units.to_raw_layout(share), *code

    def _head(self, head: str, values: dict[str, Tensor], share: Tensor, x: Tensor, x_hat: Tensor) -> Tensor:
        weighted = self.config.reconstruction_weight * values["reconstruction"]
        if head == "reconstruction":
            return weighted
        if head == "elbo":
            if (self.config.reconstruction_weight, self.spec.kl_weight) == (1.0, 1.0):
                return values["reconstruction"] + values["kl"]
            return weighted + self.spec.kl_weight * values["kl"] if self.spec.kl_weight else weighted
        if head == "gradient":
            return gradient_residual(x, x_hat)
        if self.similarity is not None and head == "ssim":
            return self.similarity(x, x_hat)  # type: ignore[no-any-return]
        places = share.sum(1) if self.image else share  # one place per pixel, not per channel
        return peak(places) if head == "peak" else top_mean(places, self.spec.top_share)


class SampledGraph(nn.Module):
    """Raw rows and noise to the heads that decode several draws of the posterior, (n,) each, in nats."""

    def __init__(self, vae: AdaptedVae, units: DataUnits, config: ExportConfig, spec: ScoreSpec) -> None:
        super().__init__()
        self.vae, self.units, self.halves, self.config, self.spec = vae.module, units, vae, config, spec

    def forward(self, x: Tensor, beside: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """X (n, *row_shape), the condition if any, noise (n, draws, *latent_shape); rows are repeated per draw.

        reconstruction_probability: -mean_k log p(x|z_k) (An & Cho 2015). iwae: -log mean_k p(x, z_k) / q(z_k|x)
        (Burda, Grosse & Salakhutdinov 2016), with p(z) = N(0, I).
        """
        given = () if noise is None else (beside,)
        noise = beside if noise is None else noise
        draws = self.spec.draws
        x = self.units.to_model(x)
        found = self.halves.encode(self.vae, x, *given)
        mean, logvar = found[0].unsqueeze(1), found[1].unsqueeze(1)
        z = mean + torch.exp(0.5 * logvar) * noise
        rows, *repeated = (_repeated(tensor, draws) for tensor in (x, *given))
        x_hat, spread = self.halves.decode(self.vae, z.flatten(0, 1), *repeated)
        config = self.config
        share = negative_log_likelihood(rows, x_hat, spread, config.likelihood, config.variance, logits=config.logits)
        surprise = row_sum(share).reshape(-1, draws)
        made = {"reconstruction_probability": surprise.mean(1)}
        if "iwae" in self.spec.heads:
            # log p(z) - log q(z|x): the constants of the two Gaussians cancel.
            ratio = 0.5 * (torch.square(noise) + logvar - torch.square(z)).flatten(2).sum(2)
            weight = ratio - surprise
            most = weight.amax(1, keepdim=True)
            made["iwae"] = -(most.squeeze(1) + torch.log(torch.exp(weight - most).mean(1)))
        return tuple(made[head] for head in self.spec.sampled)


def bundle_latents(mean: Tensor, vae: AdaptedVae) -> Tensor:
    """Codes of the model in the latent units of the bundle."""
    if (vae.latent_offset, vae.latent_scale) == (0.0, 1.0):
        return mean
    return (mean - vae.latent_offset) * vae.latent_scale


def _repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so often: (n, ...) to (n * times, ...)."""
    return rows.unsqueeze(1).expand(-1, times, *[-1] * (rows.ndim - 1)).flatten(0, 1)


def _given(condition: Tensor | None) -> tuple[Tensor, ...]:
    return () if condition is None else (condition,)
