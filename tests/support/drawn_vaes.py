"""VAEs drawn at random from what people write: layers, shapes, spellings, forms of the scale, noise, wrappers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

BODIES = ("dense", "windows", "conv", "conv1d", "gru", "lstm")
FORMS = ("logvar", "log_std", "std", "var", "softplus")
NOISE = ("randn_like", "randn", "rsample", "torch.normal", "none")
RETURNS = ("tuple", "list", "dict", "normal")
SPELLINGS = ("methods", "modules", "passed")
NORMS = ("none", "batch", "layer")
ACTIVATIONS = ("ReLU", "Tanh", "SiLU", "GELU", "LeakyReLU", "Softplus")
WRAPPERS = ("none", "DataParallel", "compile")

_SHAPES = {"dense": (6,), "windows": (4, 3), "conv": (1, 8, 8), "conv1d": (2, 8), "gru": (6, 3), "lstm": (6, 3)}


@dataclass(frozen=True)
class Drawn:
    """What a VAE is made of; ``repr`` alone rebuilds it."""

    body: str
    form: str
    noise: str
    returns: str
    spelling: str
    norm: str
    activation: str
    wrapper: str
    latent: int
    steps: int
    divisor: float
    says_divisor: bool
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        return _SHAPES[self.body]


def drawn() -> st.SearchStrategy[Drawn]:
    return st.builds(
        Drawn,
        body=st.sampled_from(BODIES),
        form=st.sampled_from(FORMS),
        noise=st.sampled_from(NOISE),
        returns=st.sampled_from(RETURNS),
        spelling=st.sampled_from(SPELLINGS),
        norm=st.sampled_from(NORMS),
        activation=st.sampled_from(ACTIVATIONS),
        wrapper=st.sampled_from(WRAPPERS),
        latent=st.integers(1, 4),
        steps=st.sampled_from((0, 60)),
        divisor=st.sampled_from((1.0, 255.0)),
        says_divisor=st.booleans(),
        seed=st.integers(0, 1000),
    )


class Recurrent(nn.Module):
    """Rows (n, steps, features) to the last state (n, width)."""

    def __init__(self, kind: type[nn.Module], features: int, width: int) -> None:
        super().__init__()
        self.layers = kind(features, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[0][:, -1]


class Random(nn.Module):
    """A VAE as ``Drawn`` says. ``halves`` and ``std`` are the truth that an export is held to."""

    def __init__(self, how: Drawn) -> None:
        super().__init__()
        self.how = how
        width, size = 12, int(np.prod(how.shape))
        bodies: dict[str, list[nn.Module]] = {
            "dense": [nn.Linear(size, width)],
            "windows": [nn.Flatten(), nn.Linear(size, width)],
            "conv": [nn.Conv2d(1, 4, 4, 2, 1), nn.Flatten(), nn.Linear(64, width)],
            "conv1d": [nn.Conv1d(2, 4, 3, 2, 1), nn.Flatten(), nn.Linear(16, width)],
            "gru": [Recurrent(nn.GRU, 3, width)],
            "lstm": [Recurrent(nn.LSTM, 3, width)],
        }
        norms = {"none": nn.Identity(), "batch": nn.BatchNorm1d(width), "layer": nn.LayerNorm(width)}
        activation: nn.Module = getattr(nn, how.activation)()
        encoder = nn.Sequential(*bodies[how.body], norms[how.norm], activation)
        decoder = nn.Sequential(
            nn.Linear(how.latent, width), activation, nn.Linear(width, size), nn.Unflatten(1, how.shape)
        )
        mu, scale = nn.Linear(width, how.latent), nn.Linear(width, how.latent)
        names = {"modules": ("encoder", "fc_mu", "fc_var", "decoder")}
        self.names = names.get(how.spelling, ("trunk", "first", "second", "painter"))
        for name, module in zip(self.names, (encoder, mu, scale, decoder), strict=True):
            self.add_module(name, module)

    def parameters_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        trunk, mu, scale, _ = (getattr(self, name) for name in self.names)
        h = trunk(x)
        raw = scale(h)
        if self.how.spelling != "modules" and self.how.form in ("std", "var"):
            raw = nn.functional.softplus(raw)
        return mu(h), raw

    def std(self, parameter: Tensor) -> Tensor:
        forms = {
            "logvar": lambda p: torch.exp(0.5 * p),
            "log_std": torch.exp,
            "std": lambda p: p,
            "var": torch.sqrt,
            "softplus": nn.functional.softplus,
        }
        form = self.how.form
        if self.how.spelling == "modules" and form in ("std", "var"):  # a linear head gives no positive number
            form = "logvar"
        return forms[form](parameter)  # type: ignore[no-any-return]

    @property
    def form(self) -> str:
        return "logvar" if self.how.spelling == "modules" and self.how.form in ("std", "var") else self.how.form

    def paint(self, z: Tensor) -> Tensor:
        return getattr(self, self.names[3])(z)  # type: ignore[no-any-return]

    def returned(self, mean: Tensor, parameter: Tensor) -> Any:
        kind = self.how.returns
        if kind == "normal":
            return torch.distributions.Normal(mean, self.std(parameter))
        return {"tuple": (mean, parameter), "list": [mean, parameter], "dict": {"mu": mean, self.form: parameter}}[kind]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, parameter = self.parameters_of(x)
        std = self.std(parameter)
        if self.how.noise == "rsample":
            z = torch.distributions.Normal(mean, std).rsample()
        elif self.how.noise == "torch.normal":
            z = torch.normal(mean, std)
        elif self.how.noise == "none":
            z = mean
        else:
            z = mean + std * (torch.randn_like(mean) if self.how.noise == "randn_like" else torch.randn(mean.shape))
        return self.paint(z), mean, parameter


class WithMethods(Random):
    """The same model with ``encode`` and ``decode``."""

    def encode(self, x: Tensor) -> Any:
        return self.returned(*self.parameters_of(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.paint(z)


def built(how: Drawn) -> tuple[nn.Module, Random, np.ndarray[Any, Any]]:
    """The model as its owner passes it, the plain model inside, and raw rows that it was trained on."""
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    plain = (WithMethods if how.spelling == "methods" else Random)(how)
    size = int(np.prod(how.shape))
    x = np.tanh(rng.normal(size=(160, 2)) @ rng.normal(size=(2, size))) + 0.05 * rng.normal(size=(160, size))
    rows = torch.from_numpy(x.reshape(160, *how.shape).astype(np.float32))
    optimiser = torch.optim.Adam(plain.parameters(), 1e-2)
    plain.train()
    for _ in range(how.steps):
        x_hat, mean, parameter = plain(rows)
        std = plain.std(parameter)
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * torch.log(std + 1e-6)).mean()
        loss = ((x_hat - rows) ** 2).mean() + 0.01 * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    plain.eval()
    wrapped: dict[str, Any] = {
        "none": lambda m: m, "DataParallel": nn.DataParallel, "compile": torch.compile,
    }  # fmt: skip
    return wrapped[how.wrapper](plain), plain, (rows.numpy() * how.divisor).astype(np.float32)


def score_of(plain: Random, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The documented score (squared error and KL to N(0, I)) of rows in model units, in float64."""
    import copy

    model = copy.deepcopy(plain).double().eval()
    with torch.no_grad():
        x = torch.from_numpy(rows.astype(np.float64))
        mean, parameter = model.parameters_of(x)
        std = model.std(parameter)
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * torch.log(std)).sum(1)
        return (((x - model.paint(mean)) ** 2).flatten(1).sum(1) + kl).numpy()
