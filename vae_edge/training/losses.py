"""The training objective; its terms are the ones the exported score is made of."""

from __future__ import annotations

from torch import Tensor

from vae_edge_export.graphs.likelihoods import kl_to_standard_normal, negative_log_likelihood

from .config import TrainConfig


def reconstruction_nats(x: Tensor, x_hat: Tensor, x_logvar: Tensor | None, config: TrainConfig) -> Tensor:
    """-log p(x|z) per row up to the likelihood's constant, (n,) nats."""
    model = config.model
    logits = model.likelihood == "bernoulli"
    return (
        negative_log_likelihood(x, x_hat, x_logvar, model.likelihood, model.variance, logits=logits).flatten(1).sum(1)
    )


def kl_nats(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL of the posterior to N(0, I) per row, (n,) nats."""
    return kl_to_standard_normal(mean, logvar)


def kl_with_free_bits(mean: Tensor, logvar: Tensor, free_bits: float) -> Tensor:
    """Mean KL of a batch, where each latent dimension costs at least ``free_bits`` nats.

    sum over j of max(free_bits, batch mean of KL_j): equation 16 of Kingma et al. 2016
    (inverse autoregressive flow). With free_bits = 0 it is the mean of ``kl_nats``.
    """
    per_dimension = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean(0)
    return per_dimension.clamp(min=free_bits).sum()


def annealed_beta(config: TrainConfig, epoch: int) -> float:
    """Beta in this epoch (from 1): linear from 0 over ``anneal_epochs``, then constant."""
    if config.anneal_epochs == 0:
        return config.beta
    return config.beta * min(1.0, (epoch - 1) / config.anneal_epochs)
