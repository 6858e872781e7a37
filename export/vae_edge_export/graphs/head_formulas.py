"""The formula of every head that a graph computes, under its name in the table ``vae_edge_runtime/format/heads.py``.

``FORMULAS`` are of the graph ``score``, ``SAMPLED_FORMULAS`` of the graph ``sampled``. What they add up and compare is
in ``residuals`` and ``likelihoods``; the heads computed in numpy are in ``vae_edge_runtime/scoring/heads.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vae_edge_runtime.format.specs import ScoreSpec

from .residuals import StructuralSimilarity, gradient_residual, peak, top_mean


@dataclass(frozen=True, eq=False)
class Terms:
    """What one decode of n rows gives.

    Attributes:
        spec: weights and shares.
        x, x_hat: (n, *row_shape) in model units; ``x_hat`` as ``decode`` shows it.
        share: (n, *row_shape), the map. image: whether its second axis holds channels.
        reconstruction, kl: (n,) in nats; ``kl`` is None where the model has none.
        constants: by head, what ``CONSTANTS`` has made.
    """

    spec: ScoreSpec
    x: Tensor
    x_hat: Tensor
    share: Tensor
    image: bool
    reconstruction: Tensor
    kl: Tensor | None
    constants: nn.ModuleDict

    @property
    def places(self) -> Tensor:
        """The map with one value per place: channels of images are added up."""
        return self.share.sum(1) if self.image else self.share


def reconstruction(terms: Terms) -> Tensor:
    """w_r · reconstruction: (n,)."""
    return terms.spec.reconstruction_weight * terms.reconstruction


def elbo(terms: Terms) -> Tensor:
    """w_r · reconstruction + w_k · kl: (n,)."""
    reconstruction_weight, kl_weight = terms.spec.reconstruction_weight, terms.spec.kl_weight
    if not kl_weight:
        return reconstruction_weight * terms.reconstruction
    if (reconstruction_weight, kl_weight) == (1.0, 1.0):  # no multiplication by 1 is written into the graph
        return terms.reconstruction + kl(terms)
    return reconstruction_weight * terms.reconstruction + kl_weight * kl(terms)


def kl(terms: Terms) -> Tensor:
    """KL(q(z|x) || N(0, I)): (n,)."""
    assert terms.kl is not None  # a head that needs a KL is refused where the model has none
    return terms.kl


def top(terms: Terms) -> Tensor:
    """Mean of the largest share of the places: (n,)."""
    return top_mean(terms.places, terms.spec.top_share)


def peak_of_places(terms: Terms) -> Tensor:
    """The largest place: (n,)."""
    return peak(terms.places)


def ssim(terms: Terms) -> Tensor:
    """1 - mean SSIM: (n,)."""
    return terms.constants["ssim"](terms.x, terms.x_hat)  # type: ignore[no-any-return]


def gradient(terms: Terms) -> Tensor:
    """Squared differences of neighbouring residuals: (n,)."""
    return gradient_residual(terms.x, terms.x_hat)


FORMULAS: dict[str, Callable[[Terms], Tensor]] = {
    "elbo": elbo,
    "reconstruction": reconstruction,
    "kl": kl,
    "top": top,
    "peak": peak_of_places,
    "ssim": ssim,
    "gradient": gradient,
}
"""Larger is less normal."""

CONSTANTS: dict[str, Callable[[float, tuple[int, ...]], nn.Module]] = {"ssim": StructuralSimilarity}
"""Of the formulas that have some: range of the values and shape of a row, both of the model, to a module."""


@dataclass(frozen=True, eq=False)
class Draws:
    """What several draws of the posterior of n rows give.

    Attributes:
        surprise: (n, draws), -log p(x | z_k) in nats.
        noise, z: (n, draws, *latent_shape): standard normal, and the latents made of it.
        logvar: (n, 1, *latent_shape) of q(z|x).
    """

    surprise: Tensor
    noise: Tensor
    z: Tensor
    logvar: Tensor


def reconstruction_probability(draws: Draws) -> Tensor:
    """-mean_k log p(x|z_k) (An & Cho 2015): (n,)."""
    return draws.surprise.mean(1)


def iwae(draws: Draws) -> Tensor:
    """-log mean_k p(x, z_k) / q(z_k|x) (Burda, Grosse & Salakhutdinov 2016), with p(z) = N(0, I): (n,)."""
    # log p(z) - log q(z|x): the constants of the two Gaussians cancel.
    ratio = 0.5 * (torch.square(draws.noise) + draws.logvar - torch.square(draws.z)).flatten(2).sum(2)
    weight = ratio - draws.surprise
    most = weight.amax(1, keepdim=True)
    return -(most.squeeze(1) + torch.log(torch.exp(weight - most).mean(1)))


SAMPLED_FORMULAS: dict[str, Callable[[Draws], Tensor]] = {
    "reconstruction_probability": reconstruction_probability,
    "iwae": iwae,
}
