"""A distribution that a decoder returns names the likelihood; one that has none is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td
from torch.nn.functional import softplus

from vae_edge_export import ExportConfig
from vae_edge_export.adapters import recipe_for
from vae_edge_export.graphs.decoded import with_named_family
from vae_edge_runtime.errors import AdaptError

UNIT = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
CLASSES = torch.randint(0, 4, (5, 6), generator=torch.Generator().manual_seed(0)).float()


class Decodes(nn.Module):
    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.first, self.second, self.make = nn.Linear(6, 2), nn.Linear(2, 24), nn.Linear(2, 24), make

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Any:
        return self.make(self.first(z), self.second(z))


TAKEN = {
    "Normal": (lambda a, b: td.Normal(a[:, :6], softplus(b[:, :6]) + 0.1), UNIT, "gaussian"),
    "Independent Normal": (lambda a, b: td.Independent(td.Normal(a[:, :6], 0.3), 1), UNIT, "gaussian"),
    "in a dict": (lambda a, b: {"p_x": 1, "dist": td.Normal(a[:, :6], 0.3)}, UNIT, "gaussian"),
    "beside a tensor": (lambda a, b: (td.Normal(a[:, :6], 0.3), a), UNIT, "gaussian"),
    "Bernoulli": (lambda a, b: td.Bernoulli(logits=a[:, :6]), UNIT, "bernoulli"),
    "Bernoulli of probabilities": (lambda a, b: td.Bernoulli(torch.sigmoid(a[:, :6])), UNIT.round(), "bernoulli"),
    "Laplace of scale 1": (lambda a, b: td.Laplace(a[:, :6], 1.0), UNIT, "laplace"),
    "Beta": (lambda a, b: td.Beta(softplus(a[:, :6]) + 0.1, softplus(b[:, :6]) + 0.1), UNIT, "beta"),
    "Categorical": (lambda a, b: td.Categorical(logits=a.reshape(-1, 6, 4)), CLASSES, "categorical"),
}
REFUSED = {
    "Laplace": lambda a, b: td.Laplace(a[:, :6], softplus(b[:, :6]) + 0.1),
    "Poisson": lambda a, b: td.Poisson(softplus(a[:, :6])),
    "NegativeBinomial": lambda a, b: td.NegativeBinomial(softplus(a[:, :6]), logits=b[:, :6]),
    "LogNormal": lambda a, b: td.LogNormal(a[:, :6], 0.5),
    "MultivariateNormal": lambda a, b: td.MultivariateNormal(a[:, :6], torch.eye(6)),
    "StudentT": lambda a, b: td.StudentT(3.0, a[:, :6]),
    "ContinuousBernoulli": lambda a, b: td.ContinuousBernoulli(logits=a[:, :6]),
    "MixtureSameFamily": lambda a, b: td.MixtureSameFamily(
        td.Categorical(logits=b.reshape(-1, 6, 4)), td.Normal(a.reshape(-1, 6, 4), 1.0)
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_family_with_a_likelihood_is_taken(name: str) -> None:
    make, x, likelihood = TAKEN[name]
    recipe, config = with_named_family(recipe_for(Decodes(make)), ExportConfig(), (x,))
    assert config.likelihood == likelihood
    assert config.logits == (likelihood == "bernoulli")
    assert any(f": likelihood {likelihood}" in note for note in recipe.notes)


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_without_one_is_refused_by_its_name(name: str) -> None:
    model = Decodes(REFUSED[name])
    with pytest.raises(AdaptError, match=rf"decode returns a {name}, and there is no likelihood.*m\.decode\(z\)\.mean"):
        with_named_family(recipe_for(model), ExportConfig(), (UNIT.round() if "Poi" in name else UNIT,))


def test_what_the_user_says_goes_before() -> None:
    recipe, config = with_named_family(
        recipe_for(Decodes(REFUSED["LogNormal"])), ExportConfig(likelihood="laplace"), (UNIT,)
    )
    assert (config.likelihood, recipe.notes[-1].startswith("decode returns")) == ("laplace", False)
