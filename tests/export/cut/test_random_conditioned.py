"""Random VAEs with a condition, with noise as an argument, or with both: cut and equal to the module."""

from __future__ import annotations

import os

import pytest
import torch
from hidden_halves import PinnedDraws
from random_conditioned import CONDITIONS, NOISES, condition_for, made

from vae_edge_export.adapters import recipe_or_reason
from vae_edge_export.cut import adapt_or_cut

KINDS = [(c, n) for c in CONDITIONS for n in NOISES if (c, n) != ("none", "drawn")]
ROWS = 5


def holds(seed: int, condition: str, noise: str) -> None:
    """For noise and conditions that the proof never saw, both halves give what the layers give."""
    model = made(seed, condition, noise).eval()
    generator = torch.Generator().manual_seed(seed)
    x, c = torch.randn(ROWS, model.features, generator=generator), condition_for(model, ROWS, seed)
    with torch.no_grad():
        vae = adapt_or_cut(recipe_or_reason(model), x, condition=c)[1]
        assert vae.recipe == "split at its noise"
        fresh, other = torch.randn(ROWS, model.features, generator=generator), condition_for(model, ROWS, seed + 1)
        beside, four = (() if other is None else (other,)), model.beside(other)
        mean, logvar = vae.encode(vae.module, fresh, *beside)
        wanted_mean, raw = model.parameters_of(fresh, four)
        eps = torch.randn(ROWS, model.latent, generator=generator)
        if noise == "two arguments":
            mean2, _ = model.second_of(fresh, wanted_mean)  # a later posterior is taken at the earlier mean
            torch.testing.assert_close(mean, torch.cat([wanted_mean, mean2], 1), rtol=1e-4, atol=1e-5)
            z = torch.randn(ROWS, model.latent + 2, generator=generator)
            wanted = model.painted(z[:, : model.latent], four, z[:, model.latent :])
        else:
            torch.testing.assert_close(mean, wanted_mean, rtol=1e-4, atol=1e-5)
            with PinnedDraws(eps):
                z = model.draw(wanted_mean, raw) if noise == "drawn" else wanted_mean + torch.exp(0.5 * raw) * eps
            sign = -1.0 if model.draw.__name__ == "_subtracted" and noise == "drawn" else 1.0
            torch.testing.assert_close(mean + sign * torch.exp(0.5 * logvar) * eps, z, rtol=1e-4, atol=1e-5)
            wanted = model.painted(z, four)
        torch.testing.assert_close(vae.decode(vae.module, z, *beside)[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("condition", "noise"), KINDS, ids=" ".join)
def test_a_random_vae_with_more_inputs_is_cut_and_equals_the_module(condition: str, noise: str) -> None:
    holds(40 + KINDS.index((condition, noise)), condition, noise)


@pytest.mark.slow
@pytest.mark.skipif("VAE_EDGE_EXAMPLES" not in os.environ, reason="a search: VAE_EDGE_EXAMPLES says how many to draw")
@pytest.mark.parametrize("seed", range(int(os.environ.get("VAE_EDGE_EXAMPLES", "1"))))
def test_many_random_vaes_with_more_inputs_are_cut_and_equal_the_module(seed: int) -> None:
    holds(seed, *KINDS[seed % len(KINDS)])
