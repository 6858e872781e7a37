"""-log p(x|z) per element, in nats, in operations every engine has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_edge_runtime.format.specs import Likelihood

_SMALLEST_PROBABILITY = 1e-6
_LOG_2_PI = math.log(2 * math.pi)


def negative_log_likelihood(
    x: Tensor,
    x_hat: Tensor,
    spread: Tensor | None,
    likelihood: Likelihood,
    variance: float | None,
    *,
    logits: bool = False,
) -> Tensor:
    """-log p(x|z) per element in nats, the shape of ``x`` (Kingma & Welling 2013, appendix C).

    Args:
        x: (n, *shape) in model units; whole numbers from 0 for ``categorical``.
        x_hat, spread: what the decoder gives, as below.

    mse: (x - x_hat)^2, a Gaussian of variance 1/2 without its constant. bernoulli: binary
    cross-entropy, softplus(l) - x l on logits l, or with p held in [1e-6, 1 - 1e-6].
    gaussian: ((x - x_hat)^2 / v + log v + log 2 pi) / 2, v fixed or exp(spread). laplace:
    |x - x_hat| + log 2. beta: Beta(x_hat, spread), x held in [1e-6, 1 - 1e-6]. categorical:
    logsumexp(l) - l[x] on logits x_hat (n, classes, *shape).
    """
    if likelihood == "bernoulli" and logits:
        # log(1 + e^l) without overflow.
        return torch.relu(x_hat) - x * x_hat + torch.log(1.0 + torch.exp(-torch.abs(x_hat)))
    if likelihood == "bernoulli":
        p = x_hat.clamp(_SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
        return -(x * torch.log(p) + (1.0 - x) * torch.log(1.0 - p))
    if likelihood == "categorical":
        classes = x_hat.shape[1]
        shifted = x_hat - x_hat.amax(dim=1, keepdim=True)
        index = x.round().clamp(0, classes - 1).to(torch.int64)
        loss = torch.log(torch.exp(shifted).sum(dim=1)) - torch.gather(shifted, 1, index.unsqueeze(1)).squeeze(1)
        # A class that does not exist has probability 0: the row's score is infinite, and its status says so.
        return torch.where((x >= 0) & (x <= classes - 1), loss, torch.full_like(loss, torch.inf))
    if likelihood == "beta":
        assert spread is not None  # adapt() has checked the decoder
        x = x.clamp(_SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
        return _beta(x, x_hat, spread)
    if likelihood == "laplace":
        return torch.abs(x - x_hat) + math.log(2.0)
    difference = x - x_hat
    squared = difference * difference  # a product, not torch.square: that becomes a power, which takes twice as long
    if likelihood == "mse":
        return squared
    if variance is not None:
        return 0.5 * (squared / variance + (math.log(variance) + _LOG_2_PI))
    assert spread is not None
    return 0.5 * (squared * torch.exp(-spread) + spread + _LOG_2_PI)


def expectation(x_hat: Tensor, spread: Tensor | None, likelihood: Likelihood, *, logits: bool) -> Tensor:
    """What ``decode`` shows, (n, *shape) in model units: the mean; of ``categorical`` the likeliest class."""
    if likelihood == "bernoulli" and logits:
        return torch.sigmoid(x_hat)
    if likelihood == "categorical":
        return x_hat.argmax(dim=1).to(x_hat.dtype)
    if likelihood == "beta":
        assert spread is not None
        return x_hat / (x_hat + spread)
    return x_hat


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, I)) per row in nats, (n,) (Kingma & Welling 2013, appendix B)."""
    return row_sum(0.5 * (torch.square(mean) + torch.exp(logvar) - 1.0 - logvar))


def row_sum(x: Tensor) -> Tensor:
    """Sum of each row, (n, *shape) to (n,), along the last axis first.

    Engines add term after term, and the error grows with their number (Higham, SIAM J. Sci. Comput. 14, 1993): of
    200,000 pixels at once 1.6e-5 was lost in float32.
    """
    return (x.sum(-1) if x.ndim > 2 else x).flatten(1).sum(1)


def _beta(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """-log Beta(x; a, b) for x inside (0, 1).

    log B(a, b) by Stirling's series at a + 8, b + 8 and a + b + 8, walked back by the recurrence of
    the gamma function (NIST DLMF 5.11.1, 5.5.1); the series is cut at y^-5, an error below 3e-10.
    Terms that grow with a and b are ratios near 1 inside one logarithm: as a difference of
    log-gammas they would cancel (1e-4 lost at a + b = 1000 in float32).
    """
    ya, yb, yab = a + 8.0, b + 8.0, a + b + 8.0
    large = (a - 1.0) * torch.log(ya / (yab * x)) + (b - 1.0) * torch.log(yb / (yab * (1.0 - x)))
    small = 8.5 * (torch.log(ya / yab) + torch.log(yb / yab)) + 7.5 * torch.log(yab) - 8.0 + 0.5 * _LOG_2_PI
    series = _stirling_series(ya) + _stirling_series(yb) - _stirling_series(yab)
    return large + small + series - _log_rising(a) - _log_rising(b) + _log_rising(a + b)


def _stirling_series(y: Tensor) -> Tensor:
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * y * y)) / (y * y)) / y


def _log_rising(x: Tensor) -> Tensor:
    """Log of x (x + 1) ... (x + 7), in two halves that do not overflow."""
    first, second = (((x + k) * (x + (k + 1.0))) * ((x + (k + 2.0)) * (x + (k + 3.0))) for k in (0.0, 4.0))
    return torch.log(first) + torch.log(second)
