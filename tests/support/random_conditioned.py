"""Random VAEs with a condition beside the row, or with their noise as an argument, halves hidden in forward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from random_vaes import STYLES, RandomVae
from torch import Tensor, nn

CONDITIONS = ("label", "one-hot label", "vector", "none")
NOISES = ("drawn", "argument", "two arguments")


class RandomConditioned(RandomVae):
    """A ``RandomVae`` whose forward takes a condition, noises, or both; what takes the condition is drawn, too.

    Attributes:
        into: ``encoder``, ``decoder`` or ``both``.
    """

    def __init__(self, seed: int, condition: str, noise: str) -> None:
        names = list(STYLES)
        super().__init__(seed, STYLES[names[seed % len(names)]])
        self.condition, self.noise = condition, noise
        self.into = ("encoder", "decoder", "both")[seed // 7 % 3]
        self.kinds, self.of_vector = nn.Embedding(3, 4), nn.Linear(2, 4)
        self.to_encoder, self.to_decoder = nn.Linear(4, self.features), nn.Linear(4, self.latent)
        self.second = nn.Linear(self.features + self.latent, 4)
        self.more = nn.Linear(2, self.latent)

    def beside(self, condition: Tensor | None) -> Tensor | None:
        """The condition as four values."""
        if condition is None:
            return None
        if self.condition == "one-hot label":
            return F.one_hot(condition, 4).to(torch.float32)
        return self.kinds(condition) if self.condition == "label" else self.of_vector(condition)

    def parameters_of(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        x = torch.log1p(x.abs()) if self.before else x
        if c is not None and self.into != "decoder":
            x = x + self.to_encoder(c)
        h = self.p0(x)
        return (self.p1(h), self.p2(h)) if self.two_heads else self.p1(h).chunk(2, dim=-1)

    def second_of(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.second(torch.cat([x, z], 1)).chunk(2, 1)

    def painted(self, z: Tensor, c: Tensor | None, z2: Tensor | None = None) -> Tensor:
        if c is not None and self.into != "encoder":
            z = z + self.to_decoder(c)
        if z2 is not None:
            z = z + self.more(z2)
        x_hat = self.p4(self.p3(torch.tanh(z) * 1.7 if self.between else z))
        return torch.sigmoid(x_hat) * 2.0 if self.after else x_hat

    def whole(self, x: Tensor, c: Tensor | None, eps1: Tensor | None, eps2: Tensor | None) -> tuple[Tensor, ...]:
        mean, raw = self.parameters_of(x, c)
        z = self.draw(mean, raw) if eps1 is None else mean + torch.exp(0.5 * raw) * eps1
        if eps2 is None:
            return self.painted(z, c), mean, raw
        mean2, raw2 = self.second_of(x, z)
        return self.painted(z, c, mean2 + torch.exp(0.5 * raw2) * eps2), mean, raw


class Conditioned(RandomConditioned):
    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return self.whole(x, self.beside(c), None, None)


class ConditionedNoise(RandomConditioned):
    def forward(self, x: Tensor, c: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
        return self.whole(x, self.beside(c), eps, None)


class ConditionedNoises(RandomConditioned):
    def forward(self, x: Tensor, c: Tensor, eps1: Tensor, eps2: Tensor) -> tuple[Tensor, ...]:
        return self.whole(x, self.beside(c), eps1, eps2)


class Noise(RandomConditioned):
    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
        return self.whole(x, None, eps, None)


class Noises(RandomConditioned):
    def forward(self, x: Tensor, eps1: Tensor, eps2: Tensor) -> tuple[Tensor, ...]:
        return self.whole(x, None, eps1, eps2)


def made(seed: int, condition: str, noise: str) -> RandomConditioned:
    """The model of a seed, whose forward has the arguments that these two say."""
    kinds = {
        (True, "drawn"): Conditioned, (True, "argument"): ConditionedNoise, (True, "two arguments"): ConditionedNoises,
        (False, "argument"): Noise, (False, "two arguments"): Noises,
    }  # fmt: skip
    return kinds[condition != "none", noise](seed, condition, noise)


def condition_for(model: RandomConditioned, rows: int, seed: int) -> Tensor | None:
    """Conditions of so many rows."""
    generator = torch.Generator().manual_seed(seed)
    if model.condition == "none":
        return None
    if model.condition == "vector":
        return torch.randn(rows, 2, generator=generator)
    return torch.randint(3, (rows,), generator=generator)
