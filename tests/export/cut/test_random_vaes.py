"""Random VAEs in ten styles: cut at their noise and equal to the module, or refused with the reason."""

from __future__ import annotations

import pytest
import torch
from hidden_halves import PinnedDraws
from random_vaes import REFUSED, STYLES, RandomVae
from torch import Tensor, nn

from vae_edge_export.adapters import recipe_or_reason
from vae_edge_export.cut import adapt_or_cut
from vae_edge_export.halves.vae import AdaptedVae
from vae_edge_runtime.errors import AdaptError


def _cut(model: nn.Module, x: Tensor) -> AdaptedVae:
    return adapt_or_cut(recipe_or_reason(model), x)[1]


def _is_the_module(model: RandomVae, vae: AdaptedVae, x: Tensor) -> None:
    """For noise never seen by the proof: decode(mean + std * noise) is what the layers give for that noise."""
    noise = torch.randn(len(x), model.latent, generator=torch.Generator().manual_seed(7))
    mean, logvar = vae.encode(vae.module, x)
    with PinnedDraws(noise) as pinned:
        model(x)
    sign = -1.0 if model.draw.__name__ == "_subtracted" else 1.0
    z = mean + sign * torch.exp(0.5 * logvar) * noise
    h = torch.tanh(z) * 1.7 if model.between else z
    x_hat = model.p4(model.p3(h))
    wanted = torch.sigmoid(x_hat) * 2.0 if model.after else x_hat
    assert pinned.count == 1
    torch.testing.assert_close(vae.decode(vae.module, z)[0], wanted, rtol=1e-4, atol=1e-5)
    assert any(
        isinstance(value, Tensor) and value.shape == x.shape and torch.allclose(value, wanted, rtol=1e-4, atol=1e-5)
        for value in pinned.results
    )


def _check(style: str, seed: int) -> None:
    model = RandomVae(seed, STYLES[style]).eval()
    x = torch.randn(4, model.features, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        vae = _cut(model, x)
        assert vae.recipe == "split at its noise"
        assert vae.has_kl
        assert vae.latent_shape == (model.latent,)
        _is_the_module(model, vae, x)


@pytest.mark.parametrize("style", STYLES)
def test_a_random_vae_is_cut_at_its_noise_and_equals_the_module(style: str) -> None:
    _check(style, seed=100 + list(STYLES).index(style))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("style", STYLES)
def test_random_vaes_are_cut_at_their_noise_and_equal_the_module(style: str, seed: int) -> None:
    _check(style, seed)


@pytest.mark.parametrize("model", REFUSED, ids=lambda m: m.__name__)
def test_what_cannot_be_cut_is_refused_with_the_reason(model: type[nn.Module]) -> None:
    with pytest.raises(AdaptError, match=REFUSED[model]):
        _cut(model(), torch.randn(4, 5))
