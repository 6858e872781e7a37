"""The posterior is measured, not guessed.

A model's own forward is run with every noise source pinned to 0 and then to 1. In
z = mean + std * noise the first run gives the mean and the difference *is* the standard
deviation, so the meaning of the encoder's second value is a matter of comparison, and every
place that draws noise is found on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..adapters.scale_form import TO_LOGVAR, ScaleForm, to_std
from ..tracing.user_lines import caller
from .door import foreign, in_words

_RTOL = 1e-3
_MAX_RECORDED = 4096
_MOST_DRAWS = 10_000
"""Of one forward: rejection sampling would go on for ever."""
_STAY_IN_EVAL = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True)
class NoiseSource:
    """One place that draws random numbers: operator, file:line and function."""

    op: str
    where: str


class PinnedNoise(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replaces what random operators draw: a standard normal becomes ``value``, a uniform one half.

    Attributes:
        sources: every place that drew.
        recorded: results, in order, that have the shape of some noise drawn before.
    """

    def __init__(self, value: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.value = value
        self.sources: dict[NoiseSource, None] = {}
        self.recorded: list[Tensor] = []
        self._shapes: set[torch.Size] = set()
        self._draws = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, or what stands for it."""
        name = func._schema.name.removeprefix("aten::")
        pinned = _PINNED.get(name)
        if pinned is None:
            result = func(*args, **(kwargs or {}))
        else:
            self._draws += 1
            if self._draws > _MOST_DRAWS:
                raise RuntimeError("it draws until something random happens, which pinned noise never does")
            result = pinned(self.value, func, args, kwargs or {})
            self.sources[NoiseSource(name, caller())] = None
            if name in _NORMAL:
                self._shapes.add(result.shape)
        if isinstance(result, Tensor) and result.shape in self._shapes and len(self.recorded) < _MAX_RECORDED:
            self.recorded.append(result.detach().clone())
        return result


def _normal(value: float, func: Any, args: Any, kwargs: Any) -> Tensor:
    """``normal(mean, std[, size])``: mean + std * value."""
    mean, std = args[0], args[1] if len(args) > 1 else kwargs.get("std", 1.0)
    shape = args[2] if len(args) > 2 else kwargs.get("size", ())
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        mean = torch.full(tuple(shape), float(mean))
    return torch.as_tensor(mean + std * value)


def _normal_in_place(value: float, func: Any, args: Any, kwargs: Any) -> Tensor:
    mean = args[1] if len(args) > 1 else kwargs.get("mean", 0.0)
    std = args[2] if len(args) > 2 else kwargs.get("std", 1.0)
    target: Tensor = args[0]
    return target.fill_(mean + std * value)


def _normal_functional(value: float, func: Any, args: Any, kwargs: Any) -> Tensor:
    return _normal_in_place(value, func, (args[0].clone(), *args[1:]), kwargs)


def _filled(constant: float | None) -> Callable[..., Tensor]:
    """What an operator draws, filled with the pinned value or a constant."""

    def run(value: float, func: Any, args: Any, kwargs: Any) -> Tensor:
        drawn: Tensor = func(*args, **kwargs)
        return drawn.fill_(value if constant is None else constant)

    return run


def _kept(value: float, func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor]:
    """Dropout that drops nothing."""
    x: Tensor = args[0]
    return x.clone(), torch.ones_like(x, dtype=torch.bool)


_NORMAL = {"randn", "randn_like", "normal", "normal_functional", "normal_"}
_PINNED: dict[str, Callable[..., Any]] = {
    "randn": _filled(None),
    "randn_like": _filled(None),
    "normal": _normal,
    "normal_functional": _normal_functional,
    "normal_": _normal_in_place,
    "native_dropout": _kept,
    **dict.fromkeys(("rand", "rand_like", "uniform_", "uniform", "_standard_gamma"), _filled(0.5)),
    **dict.fromkeys(("bernoulli", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_"), _filled(1.0)),
    **dict.fromkeys(("randint", "randint_like", "multinomial", "poisson", "random_"), _filled(0)),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What pinned runs of a model's own forward showed.

    Attributes:
        sources: places that draw noise.
        draws: (mean, std) of everything that moved with the noise, in order.
        problem: why nothing was measured, or None.
    """

    sources: tuple[NoiseSource, ...] = ()
    draws: tuple[tuple[Tensor, Tensor], ...] = field(default=(), repr=False)
    problem: str | None = None


def measure(model: nn.Module, run: Callable[[nn.Module], Any]) -> Measured:
    """Run ``run(model)`` with noise pinned to 0 and to 1: in eval mode, and in training mode if it draws none there.

    ``model`` is a private copy. Normalisation and dropout layers stay in eval mode throughout.
    """
    in_eval_mode = _measure(model, run)
    if in_eval_mode.draws or in_eval_mode.problem:
        return in_eval_mode
    training = {module: module.training for module in model.modules()}
    try:
        for module in model.modules():
            module.training = not isinstance(module, _STAY_IN_EVAL)
        in_training_mode = _measure(model, run)
    finally:
        for module, mode in training.items():
            module.training = mode
    return in_training_mode if in_training_mode.draws else in_eval_mode


def _measure(model: nn.Module, run: Callable[[nn.Module], Any]) -> Measured:
    recorded: list[list[Tensor]] = []
    sources: tuple[NoiseSource, ...] = ()
    for value in (0.0, 1.0):
        pin = PinnedNoise(value)
        try:
            with pin, torch.enable_grad():
                run(model)
        except Exception as error:  # whatever a foreign forward raises; the caller decides if it matters
            return Measured(problem=in_words(foreign(error)).splitlines()[0])
        recorded.append(pin.recorded)
        sources = tuple(pin.sources)
    if [t.shape for t in recorded[0]] != [t.shape for t in recorded[1]]:
        return Measured(sources, problem="the forward takes another path when its noise changes")
    draws = []
    for zero, one in zip(*recorded, strict=True):
        if zero.is_floating_point() and not torch.equal(zero, one):
            draws.append((zero, one - zero))
    return Measured(sources, tuple(draws))


@dataclass(frozen=True)
class Role:
    """Which of an encoder's tensors is the mean, which the scale parameter, and of what form."""

    mean: int
    parameter: int
    scale_form: ScaleForm


def identify(tensors: Iterable[Tensor], measured: Measured) -> set[Role]:
    """Every reading of an encoder's tensors that fits a measured draw; one is an answer, more is ambiguous."""
    listed = list(tensors)
    roles = set()
    for mean, std in [*measured.draws, *_first_of_many(measured.draws)]:
        for i, j in permutations(range(len(listed)), 2):
            if not _same(listed[i], mean) or listed[j].shape != std.shape:
                continue
            roles |= {Role(i, j, form) for form in TO_LOGVAR if _same(to_std(listed[j], form), std)}
    return roles


def _first_of_many(draws: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The first of several draws per row, (n, draws, …), as importance-weighted models make them."""
    return [(mean[:, 0], std[:, 0]) for mean, std in draws if mean.ndim > 2]


def mean_is_drawn(mean: Tensor, measured: Measured) -> bool:
    """Whether something was drawn around ``mean``."""
    return any(_same(mean, drawn) for drawn, _ in measured.draws)


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    size = float(b.abs().max())
    return bool(torch.allclose(a.to(b.dtype), b, rtol=_RTOL, atol=_RTOL * size * 1e-2))
