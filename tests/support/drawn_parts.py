"""Parts of drawn VAEs: trunks that rows go through, painters that rows come out of, and oddities of real classes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

WIDTH = 12
SHAPES = {
    "dense": (6,), "residual": (6,), "windows": (4, 3), "attention": (5, 4), "transformer": (5, 4), "conv": (1, 8, 8),
    "deconv": (1, 8, 8), "conv1d": (2, 8), "gru": (6, 3), "lstm": (6, 3),
}  # fmt: skip
"""Body to the shape of one row."""

NORMS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "batch": lambda: nn.BatchNorm1d(WIDTH),
    "layer": lambda: nn.LayerNorm(WIDTH),
    "group": lambda: nn.GroupNorm(3, WIDTH),
    "dropout": lambda: nn.Dropout(0.3),
    "rms": lambda: nn.RMSNorm(WIDTH),
}
ACTIVATIONS = ("ReLU", "Tanh", "SiLU", "GELU", "LeakyReLU", "Softplus", "ELU", "Mish", "PReLU")
PARAMETRIZED: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "none": lambda layer: layer,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
}


class LastState(nn.Module):
    """Rows (n, steps, features) to the last state (n, width)."""

    def __init__(self, kind: type[nn.Module], features: int, **options: Any) -> None:
        super().__init__()
        self.layers = kind(features, WIDTH, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[0][:, -1]


class Attention(nn.Module):
    """Rows (n, steps, 4) attend to themselves; the mean over steps is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((x + self.attend(x, x, x, need_weights=False)[0]).mean(1))


class Transformer(nn.Module):
    """One layer of a transformer; the first step is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.out = nn.Linear(4, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[:, 0])


class Residual(nn.Module):
    """X + f(x) behind a projection."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(size, WIDTH), nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return h + self.inner(h)


def trunk(body: str) -> list[nn.Module]:
    """Layers from rows to (n, WIDTH)."""
    size = int(np.prod(SHAPES[body]))
    layers: dict[str, Callable[[], list[nn.Module]]] = {
        "dense": lambda: [nn.Linear(size, WIDTH)],
        "residual": lambda: [Residual(size)],
        "windows": lambda: [nn.Flatten(), nn.Linear(size, WIDTH)],
        "attention": lambda: [Attention()],
        "transformer": lambda: [Transformer()],
        "conv": lambda: [nn.Conv2d(1, 4, 4, 2, 1), nn.Flatten(), nn.Linear(64, WIDTH)],
        "deconv": lambda: [
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.GroupNorm(2, 4),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, WIDTH),
        ],
        "conv1d": lambda: [nn.Conv1d(2, 4, 3, 2, 1), nn.Flatten(), nn.Linear(16, WIDTH)],
        "gru": lambda: [LastState(nn.GRU, 3, num_layers=2, dropout=0.2)],
        "lstm": lambda: [LastState(nn.LSTM, 3)],
    }  # fmt: skip
    return layers[body]()


def painter(body: str, latent: int, activation: nn.Module, outputs: int) -> nn.Sequential:
    """Layers from codes (n, latent) to rows (n, outputs * first axis, ...)."""
    shape = SHAPES[body]
    size = outputs * int(np.prod(shape))
    wide = (outputs * shape[0], *shape[1:])
    if body == "deconv":
        return nn.Sequential(
            nn.Linear(latent, 16), activation, nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 4, 4, 2, 1),
            nn.InstanceNorm2d(4, affine=True), nn.Upsample(scale_factor=2), nn.Conv2d(4, outputs, 3, padding=1),
        )  # fmt: skip
    return nn.Sequential(nn.Linear(latent, WIDTH), activation, nn.Linear(WIDTH, size), nn.Unflatten(1, wide))


@functools.lru_cache(maxsize=8)
def _half(width: int) -> Tensor:
    return torch.full((width,), 0.5)


class Odd(nn.Module):
    """What real classes have beside layers: a hook, a partial, a cached constant, a lock, a property that raises."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.seen = kind, list[Tensor]()
        if kind == "hook":
            self.register_forward_hook(lambda module, given, got: self.seen.append(got))
        if kind == "pre-hook":
            self.register_forward_pre_hook(lambda module, given: (given[0] * 1.0,))
        if kind == "lock":
            self.lock = threading.Lock()
        self.bend = functools.partial(nn.functional.leaky_relu, negative_slope=0.2)
        self.register_buffer("flag", torch.tensor(True), persistent=False)

    @property
    def device_name(self) -> str:
        raise RuntimeError("asked before training started")

    def forward(self, h: Tensor) -> Tensor:
        if self.kind == "lock":
            with self.lock:
                return h * 1.5
        if self.kind == "partial":
            return self.bend(h)  # type: ignore[no-any-return]
        if self.kind == "cached":
            return h + _half(h.shape[-1]).to(h)
        if self.kind == "flag":
            return h + 1.0 if self.flag else h
        if self.kind == "checks":
            if torch.isnan(h).any():
                raise ValueError("not a number")
            assert h.ndim == 2, h.shape
        return h


ODDITIES = ("none", "hook", "pre-hook", "lock", "partial", "cached", "flag", "checks")
