"""VAEs drawn at random from what people write: layers, shapes, spellings, forms of the scale, noise, wrappers."""

from __future__ import annotations

import collections
import copy
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_parts import ACTIVATIONS, NORMS, ODDITIES, PARAMETRIZED, SHAPES, WIDTH, Odd, painter, trunk
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Laplace, Normal
from torch.nn.functional import one_hot, softplus

from vae_edge_export.adapters.scale_form import LOGVAR_RANGE
from vae_edge_export.sources import load_weights

FORMS = ("logvar", "log_std", "std", "var", "softplus")
SOURCES = ("head", "parameter", "buffer", "attribute")
"""Where the scale comes from: a layer, or the same for all rows out of one of three places."""
RETURNS = ("tuple", "list", "dict", "normal", "independent", "namedtuple", "dataclass", "with a sample", "one tensor")
SPELLINGS = ("methods", "modules", "passed", "hidden")
NOISE = ("randn_like", "randn", "rsample", "torch.normal", "in place", "none")
LIKELIHOODS = ("mse", "gaussian", "variance", "laplace", "bernoulli", "logits", "a Normal", "a Bernoulli", "a Laplace")
CONDITIONS = ("none", "labels", "vectors")
WRAPPERS = ("none", "DataParallel", "compile", "Lightning")
STORED = ("no", "plain", "module.", "_orig_mod.", "Lightning", "safetensors")
TYPES = ("float32", "float64", "float16", "bfloat16")
CLASSES = 3


@dataclass(frozen=True)
class Drawn:
    """What a VAE is made of; ``repr`` alone rebuilds it. The defaults are the plainest one."""

    body: str = "dense"
    form: str = "logvar"
    source: str = "head"
    noise: str = "randn_like"
    returns: str = "tuple"
    spelling: str = "methods"
    norm: str = "none"
    parametrized: str = "none"
    activation: str = "ReLU"
    oddity: str = "none"
    likelihood: str = "mse"
    condition: str = "none"
    wrapper: str = "none"
    stored: str = "no"
    dtype: str = "float32"
    latent: int = 2
    steps: int = 60
    divisor: float = 1.0
    says_divisor: bool = True
    seed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPES[self.body]

    @property
    def outputs(self) -> int:
        """Values that the decoder gives for each of a row."""
        return 2 if self.likelihood in ("gaussian", "a Normal") else 1


def drawn() -> st.SearchStrategy[Drawn]:
    def mostly(usual: str, others: Any) -> st.SearchStrategy[str]:
        """Half of the time the usual one, so that faults of one kind do not hide all others."""
        return st.one_of(st.just(usual), st.sampled_from(list(others)))

    return st.builds(
        Drawn,
        body=st.sampled_from(list(SHAPES)),
        form=st.sampled_from(FORMS),
        source=mostly("head", SOURCES),
        noise=st.sampled_from(NOISE),
        returns=st.sampled_from(RETURNS),
        spelling=st.sampled_from(SPELLINGS),
        norm=st.sampled_from(list(NORMS)),
        parametrized=mostly("none", PARAMETRIZED),
        activation=st.sampled_from(ACTIVATIONS),
        oddity=mostly("none", ODDITIES),
        likelihood=mostly("mse", LIKELIHOODS),
        condition=mostly("none", CONDITIONS),
        wrapper=mostly("none", WRAPPERS),
        stored=mostly("no", STORED),
        dtype=mostly("float32", TYPES),
        latent=st.integers(1, 4),
        steps=st.sampled_from((0, 60)),
        divisor=st.sampled_from((1.0, 255.0)),
        says_divisor=st.booleans(),
        seed=st.integers(0, 1000),
    )


MeanScale = collections.namedtuple("MeanScale", ("loc", "spread"))


@dataclass
class Posterior:
    """A dataclass as an encoder's answer."""

    mu: Tensor
    log_var: Tensor


class Random(nn.Module):
    """A VAE as ``Drawn`` says. ``parameters_of``, ``std`` and ``paint`` are the truth that an export is held to."""

    def __init__(self, how: Drawn) -> None:
        super().__init__()
        self.how = how
        activation: nn.Module = getattr(nn, how.activation)()
        wrap = PARAMETRIZED[how.parametrized]
        beside = 0 if how.condition == "none" else CLASSES
        encoder = nn.Sequential(*trunk(how.body), NORMS[how.norm](), activation, Odd(how.oddity))
        self.beside = nn.Linear(beside, WIDTH) if beside else None
        mu, scale = wrap(nn.Linear(WIDTH, how.latent)), nn.Linear(WIDTH, how.latent)
        decoder = painter(how.body, how.latent + beside, copy.deepcopy(activation), how.outputs)
        names = {"modules": ("encoder", "fc_mu", "fc_var", "decoder")}
        self.names = names.get(how.spelling, ("body", "first", "second", "painter"))
        for name, module in zip(self.names, (encoder, mu, scale, decoder), strict=True):
            self.add_module(name, module)
        constant = torch.linspace(0.3, 0.6, how.latent)
        if how.source == "parameter":
            self.spread = nn.Parameter(constant)
        elif how.source == "buffer":
            self.register_buffer("spread", constant)
        elif how.source == "attribute":
            self.spread = 0.4

    @property
    def by_modules(self) -> bool:
        """Whether an exporter finds layers by their names, and no method."""
        return self.how.spelling == "modules"

    @property
    def form(self) -> str:
        """A linear layer gives no positive number, so a variance has no head that is only a layer."""
        return "logvar" if self.by_modules and self.how.form in ("std", "var") else self.how.form

    def parameters_of(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        body, mu, scale, _ = (getattr(self, name) for name in self.names)
        h = body(x)
        if condition is not None and self.beside is not None:
            h = h + self.beside(self._vector(condition, h))
        mean = mu(h)
        if self.how.source == "head" or self.by_modules:
            raw = scale(h)
            return mean, softplus(raw) if not self.by_modules and self.form in ("std", "var") else raw
        if self.how.source == "attribute":
            return mean, torch.full_like(mean, self.spread)  # type: ignore[arg-type]
        return mean, self.spread.expand_as(mean)  # type: ignore[operator]

    def std(self, parameter: Tensor) -> Tensor:
        forms = {
            "logvar": lambda p: torch.exp(0.5 * p),
            "log_std": torch.exp,
            "std": lambda p: p,
            "var": torch.sqrt,
            "softplus": softplus,
        }
        return forms[self.form](parameter)  # type: ignore[no-any-return]

    def _vector(self, condition: Tensor, like: Tensor) -> Tensor:
        return (one_hot(condition, CLASSES) if self.how.condition == "labels" else condition).to(like)

    def paint(self, z: Tensor, condition: Tensor | None = None) -> Any:
        """What ``decode`` gives."""
        if condition is not None:
            z = torch.cat([z, self._vector(condition, z)], 1)
        out = getattr(self, self.names[3])(z)
        kind = self.how.likelihood
        if kind in ("gaussian", "a Normal"):
            x_hat, logvar = out.chunk(2, 1)
            logvar = 3 * torch.tanh(logvar)
            return Normal(x_hat, torch.exp(0.5 * logvar)) if kind == "a Normal" else (x_hat, logvar)
        wrapped = {"bernoulli": torch.sigmoid, "a Bernoulli": lambda o: Bernoulli(logits=o),
                   "a Laplace": lambda o: Laplace(o, torch.ones_like(o))}  # fmt: skip
        return wrapped[kind](out) if kind in wrapped else out

    def reconstruction_loss(self, x: Tensor, out: Any) -> Tensor:
        """-log p(x|z) of each row, (n,), as the documents define it."""
        kind = self.how.likelihood
        if kind == "mse":
            per_element = (x - out) ** 2
        elif kind == "variance":
            per_element = -Normal(out, math.sqrt(_VARIANCE)).log_prob(x)
        elif kind == "gaussian":
            per_element = -Normal(out[0], torch.exp(0.5 * out[1])).log_prob(x)
        elif kind == "laplace":
            per_element = -Laplace(out, torch.ones_like(out)).log_prob(x)
        elif kind in ("bernoulli", "logits"):
            logits = out if kind == "logits" else torch.logit(out)
            per_element = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
        elif kind == "a Bernoulli":
            per_element = nn.functional.binary_cross_entropy_with_logits(out.logits, x, reduction="none")
        else:
            per_element = -out.log_prob(x)
        return per_element.flatten(1).sum(1)

    def returned(self, mean: Tensor, parameter: Tensor) -> Any:
        """What ``encode`` gives."""
        normal = Normal(mean, self.std(parameter))
        kinds = {
            "tuple": (mean, parameter),
            "list": [mean, parameter],
            "dict": {"mu": mean, self.form: parameter},
            "normal": normal,
            "independent": Independent(normal, 1),
            "namedtuple": MeanScale(mean, parameter),
            "dataclass": Posterior(mean, parameter) if self.form == "logvar" else (mean, parameter),
            "with a sample": (mean + self.std(parameter) * torch.randn_like(mean), mean, parameter),
            "one tensor": torch.cat([mean, parameter], 1),
        }
        return kinds[self.how.returns]

    def draw(self, mean: Tensor, std: Tensor) -> Tensor:
        draws = {
            "rsample": lambda: Normal(mean, std).rsample(),
            "torch.normal": lambda: torch.normal(mean, std),
            "in place": lambda: torch.empty_like(std).normal_().mul_(std).add_(mean),
            "randn": lambda: mean + std * torch.randn(mean.shape, dtype=mean.dtype),
            "randn_like": lambda: mean + std * torch.randn_like(mean),
            "none": lambda: mean,
        }
        return draws[self.how.noise]()

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Any:
        mean, parameter = self.parameters_of(x, condition)
        out = self.paint(self.draw(mean, self.std(parameter)), condition)
        return (*out, mean, parameter) if isinstance(out, tuple) else (out, mean, parameter)


class WithMethods(Random):
    """The same model with ``encode`` and ``decode``."""

    def encode(self, x: Tensor) -> Any:
        return self.returned(*self.parameters_of(x))

    def decode(self, z: Tensor) -> Any:
        return self.paint(z)


class Conditional(Random):
    """With ``encode`` and ``decode`` that take a condition."""

    def encode(self, x: Tensor, y: Tensor) -> Any:
        return self.returned(*self.parameters_of(x, y))

    def decode(self, z: Tensor, y: Tensor) -> Any:
        return self.paint(z, y)


class Lightning(nn.Module):
    """The VAE as an attribute of what trains it."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae

    def training_step(self, batch: Tensor, step: int) -> Tensor:
        return ((self.vae(batch)[0] - batch) ** 2).mean()

    def forward(self, x: Tensor, *condition: Tensor) -> Any:
        return self.vae(x, *condition)


_VARIANCE = 0.1


def _make(how: Drawn) -> Random:
    methods = WithMethods if how.condition == "none" else Conditional
    return (methods if how.spelling == "methods" else Random)(how)


def _trained(plain: Random, x: Tensor, given: tuple[Tensor, ...]) -> None:
    optimiser = torch.optim.Adam(plain.parameters(), 1e-2)
    plain.train()
    for _ in range(plain.how.steps):
        mean, parameter = plain.parameters_of(x, *given)
        std = plain.std(parameter)
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * torch.log(std + 1e-6)).sum(1).mean()
        rows = plain.reconstruction_loss(x, plain.paint(plain.draw(mean, std), *given))
        loss = (rows.mean() + 0.1 * kl) / x[0].numel()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    plain.eval()


def _reloaded(plain: Random) -> Random:
    """Another instance, with the weights out of a file as people have them."""
    kind = plain.how.stored
    torch.manual_seed(plain.how.seed + 1)
    fresh = _make(plain.how).eval()
    tensors = {name: value.contiguous() for name, value in plain.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        if kind == "safetensors":
            from safetensors.torch import save_file

            save_file(tensors, path := Path(folder) / "w.safetensors")
        else:
            prefix = {"plain": "", "Lightning": "model."}.get(kind, kind)
            content: Any = {prefix + name: value for name, value in tensors.items()}
            if kind == "Lightning":
                content = {"state_dict": content, "epoch": 3, "hyper_parameters": {"latent": plain.how.latent}}
            torch.save(content, path := Path(folder) / "w.ckpt")
        load_weights(fresh, path, trust_pickle=True)
    return fresh


@dataclass(frozen=True, eq=False)
class Built:
    """A drawn VAE.

    Attributes:
        model: as its owner passes it. plain: the model inside.
        rows: raw, that it was trained on. condition: one per row, or None.
        exact: a copy in float64, made before anything else had the model.
    """

    model: nn.Module
    plain: Random
    rows: np.ndarray[Any, Any]
    condition: np.ndarray[Any, Any] | None
    exact: Random


def built(how: Drawn) -> Built:
    """A drawn VAE, trained, stored and wrapped as it says."""
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    plain = _make(how)
    size = int(np.prod(how.shape))
    x = np.tanh(rng.normal(size=(160, 2)) @ rng.normal(size=(2, size))) + 0.05 * rng.normal(size=(160, size))
    if how.likelihood in ("bernoulli", "logits", "a Bernoulli"):
        x = 1 / (1 + np.exp(-2 * x))
    condition = {
        "none": None,
        "labels": rng.integers(0, CLASSES, 160),
        "vectors": rng.normal(size=(160, CLASSES)).astype(np.float32),
    }[how.condition]
    rows = torch.from_numpy(x.reshape(160, *how.shape).astype(np.float32))
    _trained(plain, rows, () if condition is None else (torch.from_numpy(condition),))
    if how.stored != "no":
        plain = _reloaded(plain)
    plain = plain.to(getattr(torch, how.dtype))
    wrapped: dict[str, Any] = {
        "none": lambda m: m, "DataParallel": nn.DataParallel, "compile": torch.compile, "Lightning": Lightning,
    }  # fmt: skip
    exact = _make(how).double().eval()
    exact.load_state_dict(plain.state_dict())
    return Built(wrapped[how.wrapper](plain), plain, (rows.numpy() * how.divisor).astype(np.float32), condition, exact)


def score_of(drawn: Built, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The documented score (-log p and KL to N(0, I)) of the first rows in model units, in float64."""
    model = drawn.exact
    with torch.no_grad():
        x = torch.from_numpy(rows.astype(np.float64))
        given = () if drawn.condition is None else (torch.from_numpy(drawn.condition[: len(x)]),)
        mean, parameter = model.parameters_of(x, *given)
        logvar = (2 * torch.log(model.std(parameter))).clamp(*LOGVAR_RANGE)
        kl = 0.5 * (mean**2 + torch.exp(logvar) - 1 - logvar).sum(1)
        return (model.reconstruction_loss(x, model.paint(mean, *given)) + kl).numpy()
