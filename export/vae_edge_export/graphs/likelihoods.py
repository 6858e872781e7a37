"""-log p(x|z) per element, in nats, in operations every engine has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_edge_runtime.format.likelihoods import LikelihoodName

_SMALLEST_PROBABILITY = 1e-6
UNIT_TOLERANCE = 1e-3
"""By which a value of [0, 1] may be outside in model units: rounding of (x - offset) / scale, also in float16."""
_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder gives for n rows.

    Attributes:
        x_hat: (n, *shape) in model units; (n, classes, *shape) logits of ``categorical``.
        second: (n, *shape), the second output where there is one: logvar of ``gaussian``, beta of ``beta``.
        variance: the fixed one of ``gaussian``, or None. logits: of ``bernoulli``: whether ``x_hat`` holds logits.
    """

    x_hat: Tensor
    second: Tensor | None
    variance: float | None
    logits: bool


def negative_log_likelihood(
    x: Tensor,
    x_hat: Tensor,
    spread: Tensor | None,
    likelihood: LikelihoodName,
    variance: float | None,
    *,
    logits: bool = False,
) -> Tensor:
    """-log p(x|z) per element in nats, the shape of ``x`` (Kingma & Welling 2013, appendix C).

    Args:
        x: (n, *shape) in model units; whole numbers from 0 for ``categorical``.
        x_hat, spread: what the decoder gives; variance, logits: as in ``Decoded``.
        likelihood: a name in the table; the formulas are under it in ``NEGATIVE_LOG``.
    """
    return NEGATIVE_LOG[likelihood](x, Decoded(x_hat, spread, variance, logits))


def expectation(x_hat: Tensor, spread: Tensor | None, likelihood: LikelihoodName, *, logits: bool) -> Tensor:
    """What ``decode`` shows, (n, *shape) in model units: the mean; of ``categorical`` the likeliest class."""
    return SHOWN[likelihood](Decoded(x_hat, spread, None, logits))


def _squared_error(x: Tensor, decoded: Decoded) -> Tensor:
    """(x - x_hat)^2, a Gaussian of variance 1/2 without its constant."""
    difference = x - decoded.x_hat
    return difference * difference  # a product, not torch.square: that becomes a power, which takes twice as long


def _bernoulli(x: Tensor, decoded: Decoded) -> Tensor:
    """Binary cross-entropy: softplus(l) - x l on logits l, or with p held in [1e-6, 1 - 1e-6]."""
    if decoded.logits:
        # log(1 + e^l) without overflow.
        x_hat = decoded.x_hat
        loss = torch.relu(x_hat) - x * x_hat + torch.log(1.0 + torch.exp(-torch.abs(x_hat)))
    else:
        p = decoded.x_hat.clamp(_SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
        loss = -(x * torch.log(p) + (1.0 - x) * torch.log(1.0 - p))
    return _of_unit_interval(x, loss)


def _gaussian(x: Tensor, decoded: Decoded) -> Tensor:
    """((x - x_hat)^2 / v + log v + log 2 pi) / 2, v fixed or exp(second)."""
    squared, variance, logvar = _squared_error(x, decoded), decoded.variance, decoded.second
    if variance is not None:
        return 0.5 * (squared / variance + (math.log(variance) + _LOG_2_PI))
    assert logvar is not None  # adapt() has checked the decoder
    return 0.5 * (squared * torch.exp(-logvar) + logvar + _LOG_2_PI)


def _laplace(x: Tensor, decoded: Decoded) -> Tensor:
    """|x - x_hat| + log 2."""
    return torch.abs(x - decoded.x_hat) + math.log(2.0)


def _beta(x: Tensor, decoded: Decoded) -> Tensor:
    """Beta(x_hat, second), x held in [1e-6, 1 - 1e-6]."""
    assert decoded.second is not None
    inside = x.clamp(_SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
    return _of_unit_interval(x, _negative_log_beta(inside, decoded.x_hat, decoded.second))


def _categorical(x: Tensor, decoded: Decoded) -> Tensor:
    """logsumexp(l) - l[x] on logits (n, classes, *shape)."""
    classes = decoded.x_hat.shape[1]
    shifted = decoded.x_hat - decoded.x_hat.amax(dim=1, keepdim=True)
    index = x.round().clamp(0, classes - 1).to(torch.int64)
    loss = torch.log(torch.exp(shifted).sum(dim=1)) - torch.gather(shifted, 1, index.unsqueeze(1)).squeeze(1)
    # A class that does not exist has probability 0: the row's score is infinite, and its status says so.
    return torch.where((x >= 0) & (x <= classes - 1), loss, torch.full_like(loss, torch.inf))


def _of_unit_interval(x: Tensor, loss: Tensor) -> Tensor:
    """Infinite where a value is outside [0, 1]: it has probability 0, and the status of the row says so.

    The cross-entropy of such a value falls below 0 without bound: pictures of 0 to 255 scored by a model of 0 to 1 were
    all normal.
    """
    return torch.where(torch.abs(x - 0.5) <= 0.5 + UNIT_TOLERANCE, loss, torch.full_like(loss, torch.inf))


def _location(decoded: Decoded) -> Tensor:
    return decoded.x_hat


def _probability(decoded: Decoded) -> Tensor:
    return torch.sigmoid(decoded.x_hat) if decoded.logits else decoded.x_hat


def _mean_of_beta(decoded: Decoded) -> Tensor:
    assert decoded.second is not None
    return decoded.x_hat / (decoded.x_hat + decoded.second)


def _likeliest_class(decoded: Decoded) -> Tensor:
    return decoded.x_hat.argmax(dim=1).to(decoded.x_hat.dtype)


NEGATIVE_LOG: dict[str, Callable[[Tensor, Decoded], Tensor]] = {
    "mse": _squared_error,
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "laplace": _laplace,
    "beta": _beta,
    "categorical": _categorical,
}
"""-log p per element, the shape of x, by the names in ``vae_edge_runtime/format/likelihoods.py``."""

SHOWN: dict[str, Callable[[Decoded], Tensor]] = {
    "mse": _location,
    "bernoulli": _probability,
    "gaussian": _location,
    "laplace": _location,
    "beta": _mean_of_beta,
    "categorical": _likeliest_class,
}
"""What ``decode`` gives, (n, *shape), by the same names."""


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, I)) per row in nats, (n,) (Kingma & Welling 2013, appendix B)."""
    return row_sum(0.5 * (torch.square(mean) + torch.exp(logvar) - 1.0 - logvar))


def row_sum(x: Tensor) -> Tensor:
    """Sum of each row, (n, *shape) to (n,), along the last axis first.

    Engines add term after term, and the error grows with their number (Higham, SIAM J. Sci. Comput. 14, 1993): of
    200,000 pixels at once 1.6e-5 was lost in float32.
    """
    return (x.sum(-1) if x.ndim > 2 else x).flatten(1).sum(1)


def _negative_log_beta(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
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
