"""Every likelihood against PyTorch's own distribution, in float64 and in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Beta, Categorical, Laplace, Normal

from vae_edge_export.graphs.likelihoods import expectation, negative_log_likelihood

G = torch.Generator().manual_seed(0)
X = torch.rand(40, 7, generator=G, dtype=torch.float64).clamp(0.01, 0.99)
RAW = torch.randn(40, 7, generator=G, dtype=torch.float64)
SPREAD = torch.randn(40, 7, generator=G, dtype=torch.float64) / 2
POSITIVE = RAW.exp() * 3 + 0.05
LOGITS = torch.randn(40, 5, 7, generator=G, dtype=torch.float64) * 3
CLASSES = torch.randint(0, 5, (40, 7), generator=G)

CASES: dict[str, tuple[Callable[[], Tensor], dict[str, object], Tensor]] = {
    "gaussian": (lambda: Normal(RAW, math.sqrt(0.3)).log_prob(X), {"x_hat": RAW, "variance": 0.3}, X),
    "gaussian, learned": (
        lambda: Normal(RAW, (SPREAD / 2).exp()).log_prob(X), {"x_hat": RAW, "spread": SPREAD}, X,
    ),
    "laplace": (lambda: Laplace(RAW, 1.0).log_prob(X), {"x_hat": RAW}, X),
    "bernoulli": (lambda: Bernoulli(logits=RAW, validate_args=False).log_prob(X), {"x_hat": RAW, "logits": True}, X),
    "beta": (lambda: Beta(POSITIVE, POSITIVE.flip(0)).log_prob(X), {"x_hat": POSITIVE, "spread": POSITIVE.flip(0)}, X),
    "categorical": (
        lambda: Categorical(logits=LOGITS.movedim(1, -1)).log_prob(CLASSES), {"x_hat": LOGITS}, CLASSES.double(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_minus_the_log_probability(name: str) -> None:
    log_prob, options, x = CASES[name]
    arguments = {"spread": None, "variance": None, **options}
    found = negative_log_likelihood(x, likelihood=name.partition(",")[0], **arguments)  # type: ignore[arg-type]
    torch.testing.assert_close(found, -log_prob(), rtol=1e-9, atol=1e-9)
    single = {key: value.float() if isinstance(value, Tensor) else value for key, value in arguments.items()}
    in_float32 = negative_log_likelihood(x.float(), likelihood=name.partition(",")[0], **single)  # type: ignore[arg-type]
    torch.testing.assert_close(in_float32.double(), found, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("size", [1e3, 1e5])
def test_a_narrow_beta_keeps_its_digits_in_float32(size: float) -> None:
    a = torch.rand(2000, generator=G, dtype=torch.float64) * size + 1
    b = torch.rand(2000, generator=G, dtype=torch.float64) * size + 1
    x = (a / (a + b)).float()  # at the mean, where log-gammas of a size of 1e4 would cancel
    exact = -Beta(a, b).log_prob(x.double())
    found = negative_log_likelihood(x, a.float(), b.float(), "beta", None).double()
    naive = -Beta(a.float(), b.float()).log_prob(x).double()
    assert (found - exact).abs().max() < 0.2 * (naive - exact).abs().max()


def test_a_class_that_does_not_exist_has_no_probability_and_stays_in_its_row() -> None:
    x = CLASSES.double()
    x[3, 2] = 5
    found = negative_log_likelihood(x, LOGITS, None, "categorical", None)
    assert found[3, 2] == torch.inf
    assert torch.isfinite(found).sum() == found.numel() - 1


@pytest.mark.parametrize("far", [255.0, 1.5, -0.5])
@pytest.mark.parametrize(("likelihood", "logits"), [("bernoulli", True), ("bernoulli", False), ("beta", False)])
def test_a_value_outside_the_unit_interval_has_no_probability_and_rounding_is_no_matter(
    likelihood: str, logits: bool, far: float
) -> None:
    x = torch.rand(4, 3)
    x[0, 0], x[1, 1], x[2, 2] = -1e-4, 1 + 1e-4, far
    ahead, spread = torch.rand(4, 3) * 0.8 + 0.1, torch.ones(4, 3)
    found = negative_log_likelihood(x, ahead, spread, likelihood, None, logits=logits)
    assert found[2, 2] == torch.inf
    assert torch.isfinite(found).sum() == found.numel() - 1


def test_decode_shows_the_mean_or_the_likeliest_class() -> None:
    assert expectation(torch.tensor([2.0]), torch.tensor([6.0]), "beta", logits=False).item() == 0.25
    assert expectation(torch.tensor([0.0]), None, "bernoulli", logits=True).item() == 0.5
    best = expectation(LOGITS, None, "categorical", logits=False)
    assert torch.equal(best, LOGITS.argmax(1).double())
