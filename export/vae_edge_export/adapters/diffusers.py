"""diffusers: ``AutoencoderKL`` and its kin, ``AutoencoderTiny``, ``AutoencoderDC``, ``VQModel``.

Latents leave as the pipelines use them, (z - shift_factor) * scaling_factor, for all but ``VQModel``.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import embedding

from .origin import is_a, is_from
from .recipe import Recipe

_RANGE = "its pixels lie in [-1, 1]: for uint8 rows pass offset 127.5 and scale 127.5"


def recognise(model: Any) -> Recipe | None:
    """A recipe for a model of diffusers with ``encode`` and ``decode``."""
    if not (isinstance(model, nn.Module) and is_from(model, "diffusers") and hasattr(model, "encode")):
        return None
    if is_a(model, "VQModel"):
        return _vq(model)
    return _continuous(model)


def _continuous(model: nn.Module) -> Recipe:
    config: Any = model.config
    scale = float(getattr(config, "scaling_factor", None) or 1.0)
    shift = float(getattr(config, "shift_factor", None) or 0.0)
    notes = [_RANGE]
    if (scale, shift) != (1.0, 0.0):
        scaled = f"(z - {shift:g}) * {scale:g}" if shift else f"z * {scale:g}"
        notes.append(f"latents are {scaled}, as its pipelines use them; the KL is that of z itself")
    if getattr(config, "latents_mean", None) is not None:
        notes.append("latents_mean and latents_std of its config are not applied")
    is_tiny = is_a(model, "AutoencoderTiny")
    if is_tiny:
        notes.append("its forward rounds latents to 8 bits on the way; encode and decode do not, nor does the bundle")
    return Recipe(
        name=f"diffusers {type(model).__name__}",
        module=_without_tiles(model),
        encode=lambda m, x: m.encode(x),
        decode=lambda m, z: m.decode(z).sample,
        forward=None if is_tiny else _forward,
        latent_offset=shift,
        latent_scale=scale,
        notes=tuple(notes),
    )


def _forward(m: Any, x: Tensor) -> Any:
    draws = "sample_posterior" in type(m).forward.__code__.co_varnames
    return m(x, sample_posterior=True) if draws else m(x)


def _without_tiles(model: nn.Module) -> nn.Module:
    """Slicing and tiling are Python loops over the batch and the picture; a graph has neither."""
    if not (getattr(model, "use_slicing", False) or getattr(model, "use_tiling", False)):
        return model
    plain: Any = copy.deepcopy(model)
    plain.use_slicing = plain.use_tiling = False
    return plain  # type: ignore[no-any-return]


def _vq(model: Any) -> Recipe:
    codes = int(model.quantize.embedding.num_embeddings)

    def encode(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        h = m.encode(x).latents
        indices = m.quantize(h)[2][2].reshape(-1, *h.shape[2:])
        return indices, _codes_of(m, indices)

    def decode(m: Any, indices: Tensor) -> Tensor:
        z_q = _codes_of(m, indices)
        spatial_norm_input = z_q if m.config.norm_type == "spatial" else None
        x_hat: Tensor = m.decoder(m.post_quant_conv(z_q), spatial_norm_input)
        return x_hat

    return Recipe(
        name="diffusers VQModel",
        module=model,
        encode=encode,
        decode=decode,
        forward=_forward,
        codebook=codes,
        has_kl=False,
        notes=(_RANGE, "indices and z_q out, indices in: the codebook lies in both graphs"),
    )


def _codes_of(m: Any, indices: Tensor) -> Tensor:
    """Indices (n, h, w) to their codes (n, c, h, w)."""
    return embedding(indices, m.quantize.embedding.weight).permute(0, 3, 1, 2)
