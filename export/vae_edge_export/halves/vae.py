"""An adapted model: two functions of tensors, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.specs import LatentKind, element_count

from ..adapters import Decode, Encode, Prior
from ..adapters.scale_form import ScaleForm, to_logvar
from .normalise import Encoded, read_decoded, read_encoded
from .probe import Role


@dataclass(frozen=True, eq=False)
class AdaptedVae:
    """A private copy of the user's module, in eval mode on the CPU, and how to call its halves.

    Attributes:
        recipe: name of the adapter that recognised the model.
        kind: of the latent, as in ``LatentSpec``.
        scale_form: what the second value of ``encode`` is; None where it has none.
        role: which of several unnamed tensors are mean and scale parameter.
        input_shape: of one row in model layout. latent_shape: of one latent (of the grid of codes).
        groups: of a hierarchical model, the shape of each latent.
        decoded: tensors the decoder gives: 2 for a distribution with a spread of its own.
        classes: of a categorical likelihood; else 0.
        has_kl: there is a KL in closed form.
        evidence: what was found and why, a line each.
        decoded_shape: of one decoded row, where it is another one than ``input_shape``, as of a forecast; else empty.
    """

    recipe: str
    module: nn.Module
    user_encode: Encode
    user_decode: Decode
    kind: LatentKind
    scale_form: ScaleForm | None
    role: Role | None
    input_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    embedding_shape: tuple[int, ...]
    codebook: int
    decoded: int
    classes: int
    has_kl: bool
    prior: Prior | None
    latent_offset: float
    latent_scale: float
    evidence: tuple[str, ...] = ()
    decoded_shape: tuple[int, ...] = ()

    def encode(self, module: nn.Module, x: Tensor, *condition: Tensor) -> tuple[Tensor, ...]:
        """Rows in model units to (mean, logvar), (code,) or (indices, z_q); (n, *latent_shape) each.

        ``z_q`` is (n, *embedding_shape). A hierarchical model's latents lie one after the other.
        """
        encoded = read_encoded(self.user_encode(module, x, *condition))
        if self.kind == "codes":
            if encoded.indices is None or encoded.z_q is None:
                raise AdaptError("encode gave no indices this time")
            return encoded.indices.to(torch.int64), encoded.z_q
        if self.kind == "deterministic":
            return (code_of(encoded),)
        pairs = pairs_of(encoded, self.role)
        assert self.scale_form is not None  # adapt() has found it for every gaussian
        if not self.groups:
            mean, parameter = pairs[0]
            return mean, to_logvar(parameter, self.scale_form)
        means = torch.cat([mean.flatten(1) for mean, _ in pairs], dim=1)
        return means, to_logvar(torch.cat([p.flatten(1) for _, p in pairs], dim=1), self.scale_form)

    def decode(self, module: nn.Module, z: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents or indices to (x_hat, spread or None), both (n, *input_shape) in model units."""
        latent: Any = z.contiguous()  # a mean may be a slice of what encode gave, and decode may call view on it
        if self.groups:
            ends = [element_count(group) for group in self.groups]
            parts = torch.split(z, ends, dim=1)
            latent = [part.reshape(-1, *group) for part, group in zip(parts, self.groups, strict=True)]
        decoded = read_decoded(self.user_decode(module, latent, *condition), count=self.decoded)
        shaped = [self._shaped(tensor) for tensor in decoded]
        return shaped[0], shaped[1] if len(shaped) > 1 else None

    def _shaped(self, x_hat: Tensor) -> Tensor:
        """A decoder of flat rows gives them back in the shape of the rows."""
        flat = x_hat.ndim == 2 and len(self.input_shape) > 1 and x_hat.shape[1] == element_count(self.input_shape)
        return x_hat.reshape(-1, *self.input_shape) if flat else x_hat


def pairs_of(encoded: Encoded, role: Role | None) -> tuple[tuple[Tensor, Tensor], ...]:
    """(mean, scale parameter) per latent."""
    if encoded.pairs:
        return encoded.pairs
    if role is None or not encoded.unnamed:
        raise AdaptError(f"encode gave {encoded.how}, and no mean and scale in it")
    return ((encoded.unnamed[role.mean], encoded.unnamed[role.parameter]),)


def code_of(encoded: Encoded) -> Tensor:
    """The one tensor of a deterministic encoder; the mean where it gives more."""
    if encoded.code is not None:
        return encoded.code
    if len(encoded.pairs) == 1:
        return encoded.pairs[0][0]
    raise AdaptError(f"encode gave {encoded.how}, where one tensor is wanted")
