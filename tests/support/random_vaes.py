"""Random VAEs in ten styles, their halves hidden in forward; and four that cannot be cut."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

Draw = Callable[[Tensor, Tensor], Tensor]
"""(mean, raw scale) to z."""


def _like(mean: Tensor, raw: Tensor) -> Tensor:
    return mean + torch.exp(0.5 * raw) * torch.randn_like(mean)


def _sized(mean: Tensor, raw: Tensor) -> Tensor:
    return torch.randn(mean.shape[0], mean.shape[1]) * raw.div(2).exp() + mean


def _in_place(mean: Tensor, raw: Tensor) -> Tensor:
    std = raw.mul(0.5).exp_()
    return torch.empty_like(std).normal_().mul_(std).add_(mean)


def _rsample(mean: Tensor, raw: Tensor) -> Tensor:
    return Normal(mean, F.softplus(raw)).rsample()


def _independent(mean: Tensor, raw: Tensor) -> Tensor:
    return Independent(Normal(mean, raw.exp()), 1).rsample()


def _normal(mean: Tensor, raw: Tensor) -> Tensor:
    return torch.normal(mean, F.softplus(raw) + 1e-3)


def _sample_of_one(mean: Tensor, raw: Tensor) -> Tensor:
    return Normal(mean, torch.sqrt(raw.exp())).rsample((1,)).squeeze(0)


def _addcmul(mean: Tensor, raw: Tensor) -> Tensor:
    return torch.addcmul(mean, torch.randn_like(raw), torch.exp(raw))


def _subtracted(mean: Tensor, raw: Tensor) -> Tensor:
    return mean - 0.8 * torch.randn_like(mean) * torch.sigmoid(raw)


def _clamped(mean: Tensor, raw: Tensor) -> Tensor:
    noise = torch.randn(mean.size(), dtype=mean.dtype)
    return noise.mul(raw.clamp(-6.0, 2.0).mul(0.5).exp()) + mean


STYLES: dict[str, Draw] = {
    "randn_like": _like,
    "randn with sizes": _sized,
    "normal_ in place": _in_place,
    "rsample, softplus": _rsample,
    "Independent": _independent,
    "torch.normal": _normal,
    "a sample of one": _sample_of_one,
    "addcmul, log std": _addcmul,
    "subtracted, sigmoid": _subtracted,
    "clamped logvar": _clamped,
}
"""How a forward may write z = mean + std * noise."""

_ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.ELU, nn.Tanh, nn.GELU)


class RandomVae(nn.Module):
    """Depth, widths, activations, norms, work before, between and after the halves: all drawn from a seed."""

    def __init__(self, seed: int, draw: Draw) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def one_of(*values: int) -> int:
            return values[int(torch.randint(len(values), (1,), generator=generator))]

        torch.manual_seed(seed)
        self.draw = draw
        self.features, self.latent = one_of(5, 8), one_of(2, 3)
        self.before, self.between, self.after = one_of(0, 1), one_of(0, 1), one_of(0, 1)
        self.returns, self.loss_first = one_of(0, 1, 2, 3), one_of(0, 1)
        self.two_heads = bool(one_of(0, 1))
        width = one_of(12, 20)
        self.p0 = self._stack(self.features, width, one_of(1, 2), one_of(0, 1, 2), one_of(0, 1, 2, 3, 4))
        self.p1 = nn.Linear(width, self.latent if self.two_heads else 2 * self.latent)
        self.p2 = nn.Linear(width, self.latent)
        self.p3 = self._stack(self.latent, width, one_of(1, 2), 0, one_of(0, 1, 2, 3, 4))
        self.p4 = nn.Linear(width, self.features)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.uniform_(-0.5, 0.5)
                part.running_var.uniform_(0.5, 2.0)

    @staticmethod
    def _stack(size: int, width: int, depth: int, norm: int, activation: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers.append(nn.Linear(size, width))
            if norm:
                layers.append(nn.BatchNorm1d(width) if norm == 1 else nn.LayerNorm(width))
            layers.append(_ACTIVATIONS[activation]())
            size = width
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> object:
        """X (n, features) to whatever this seed returns."""
        h = self.p0(torch.log1p(x.abs()) if self.before else x)
        mean, raw = (self.p1(h), self.p2(h)) if self.two_heads else self.p1(h).chunk(2, dim=-1)
        z = self.draw(mean, raw)
        x_hat = self.p4(self.p3(torch.tanh(z) * 1.7 if self.between else z))
        x_hat = torch.sigmoid(x_hat) * 2.0 if self.after else x_hat
        if self.returns == 0:
            return x_hat
        if self.returns == 1:
            return {"loss": F.mse_loss(x_hat, x), "reconstruction": x_hat, "mu": mean}
        if self.returns == 2:
            return [x, x_hat, mean, raw] if self.loss_first else [x_hat, x, mean, raw]
        return F.mse_loss(x_hat, x) + mean.pow(2).mean()


class _Refused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(2, 5)
        self.d, self.e = nn.Linear(8, 5), nn.Linear(8, 4)


class Skips(_Refused):
    """What comes before the draw enters the decoder."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        mean, logvar, _ = self.b(h).chunk(3, 1)
        return self.c(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)) + self.d(h)


class FullCovariance(_Refused):
    """The noise is mixed by a matrix per row."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        factor = self.e(h).view(-1, 2, 2).tril()
        noise = torch.randn(x.shape[0], 2, 1)
        return self.c(self.b(h)[:, :2] + (factor @ noise).squeeze(2))


class Uniform(_Refused):
    """The noise is uniform."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(torch.relu(self.a(x)))
        return self.c(h[:, :2] + h[:, 2:4].exp() * torch.rand_like(h[:, :2]))


class NoNoise(_Refused):
    """An autoencoder: nothing is drawn."""

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.relu(self.a(x)))[:, :2])


REFUSED: dict[type[nn.Module], str] = {
    Skips: r"also takes what comes before it \(in .* at .*random_vaes.py:\d+",
    FullCovariance: "not a full covariance",
    Uniform: r"draws rand_like at .*random_vaes.py:\d+ in forward, which is no normal noise",
    NoNoise: "draws no normal noise",
}
"""Model to the reason that an export gives."""
