"""What shows that rows are scored by another likelihood than the model was trained by.

Nothing in a model says its loss for certain. What is looked at is evidence: the values that rows have, the values that
``decode`` can give, the losses that the model's own classes call, and how well a second output fits the errors made.
Each line names its evidence and the option, and leaves the answer to the owner of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS

from ..config import ExportConfig
from ..effort import rows_affordable
from ..graphs.build import BuiltGraphs
from ..graphs.modules import DataUnits
from ..halves.door import reading
from ..halves.probe_rows import check_probabilities
from ..halves.vae import AdaptedVae
from ..rows import ExportRows, model_shape
from .fit import r_squared

Array = NDArray[Any]

_ROWS = 256
_FAR = 30.0
"""Times that latents are enlarged: a decoder whose values still stay in [0, 1] is bounded, as by a sigmoid."""
_END, _AT_THE_ENDS, _AT_EACH_END = 0.02, 0.75, 0.01
"""Rows are near enough to 0 and 1 to be coin flips where 75 % of the values lie within 0.02 of an end, and 1 % at each.
Of MNIST 87 % do, of Fashion-MNIST 55 %, of photographs few."""
_BETTER_R2 = 0.05
_TOO_WIDE, _BETTER_NATS = 0.1, 0.2
"""A spread is doubted where it says errors ten times as large as they are, and where it fits better by 0.2 nats per
value as a standard deviation or as a variance."""

LOSSES: dict[str, tuple[str, str]] = {
    "binary_cross_entropy": ("bernoulli", "--likelihood bernoulli"),
    "BCELoss": ("bernoulli", "--likelihood bernoulli"),
    "binary_cross_entropy_with_logits": ("bernoulli", "--likelihood bernoulli --logits"),
    "BCEWithLogitsLoss": ("bernoulli", "--likelihood bernoulli --logits"),
    "l1_loss": ("laplace", "--likelihood laplace"),
    "L1Loss": ("laplace", "--likelihood laplace"),
    "mse_loss": ("mse", "--likelihood mse"),
    "MSELoss": ("mse", "--likelihood mse"),
    "gaussian_nll_loss": ("gaussian", "--likelihood gaussian"),
    "GaussianNLLLoss": ("gaussian", "--likelihood gaussian"),
}
"""Losses of PyTorch by their names: the likelihood of ours, and the options that say so."""

_LIBRARIES = ("torch", "builtins", "lightning", "pytorch_lightning")
"""Whose classes say nothing of the model."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """Some rows and what the model makes of them, in model units.

    Attributes:
        x, x_hat: (n, *input_shape). spread: the same, the second output of ``decode``, or None.
        far: what ``decode`` gives for latents far out; None where it gives nothing finite.
        losses: names of ``LOSSES`` that classes of the model call.
        config: with the likelihood that is scored by.
        again: what the model makes of other values in the place of ``x``, the shape of ``x``.
    """

    x: Array
    x_hat: Array
    spread: Array | None
    far: Array | None
    losses: tuple[str, ...]
    config: ExportConfig
    again: Callable[[Array], Array]


def likelihood_hints(built: BuiltGraphs, rows: ExportRows) -> list[str]:
    """Lines on a likelihood that does not suit the model or the rows; none where nothing shows it.

    Args:
        built: the graphs in PyTorch. rows: of which up to 256 normal ones are looked at.

    Raises:
        AdaptError: ``decode`` gives no probabilities for a row, and they are scored as such.

    Example:
        ``report.warnings`` holds them after an export.
    """
    if rows.condition is not None and rows.condition.role != "condition":
        return []  # a mask or a target: what is compared are not the rows
    seen = _look(built, rows)
    if LIKELIHOODS[seen.config.likelihood].takes_logits and not seen.config.logits:
        check_probabilities(torch.from_numpy(seen.x_hat))
    return [line for hint in _HINTS if (line := hint(seen))][:1]


def _look(built: BuiltGraphs, rows: ExportRows) -> _Seen:
    vae, config = built.vae, built.config
    count = len(rows.calibration["x"])
    affordable = rows_affordable(built.multiplications, most=min(count, _ROWS), least=min(count, 4))
    feeds = {name: x[np.linspace(0, count - 1, affordable).astype(np.int64)] for name, x in rows.calibration.items()}
    x = DataUnits(config, model_shape(rows.row.shape, rows.row.layout)).to_model(torch.from_numpy(feeds["x"]))
    beside = [torch.from_numpy(feeds["condition"])] if "condition" in feeds else []
    at_once = built.rows_at_once("score", most=16)

    def run(x: Tensor, *, outside: bool = False) -> list[Array | None]:
        parts: list[tuple[Tensor | None, ...]] = []
        with torch.no_grad(), reading("running the model in PyTorch"):
            for piece in zip(*(torch.split(values, at_once) for values in (x, *beside)), strict=True):
                code = vae.encode(vae.module, *piece)[0]
                decoded = vae.decode(vae.module, code, *piece[1:])
                parts.append((*decoded, _far(vae, code, piece[1:])) if outside else decoded)
        return [_joined(output) for output in zip(*parts, strict=True)]

    def again(values: Array) -> Array:
        x_hat = run(torch.from_numpy(values))[0]
        assert x_hat is not None
        return x_hat

    x_hat, spread, far = run(x, outside=True)
    assert x_hat is not None
    return _Seen(x.numpy(), x_hat, spread, far, tuple(sorted(set(_losses_of(vae.module)))), config, again)


def _far(vae: AdaptedVae, code: Tensor, beside: Sequence[Tensor]) -> Tensor | None:
    """What ``decode`` gives far outside; None where that is nothing: of indices, or where the decoder overflows."""
    if not code.is_floating_point():
        return None
    generator = torch.Generator().manual_seed(0)
    outside = _FAR * (code + torch.randn(code.shape, generator=generator))
    try:
        x_hat = vae.decode(vae.module, outside, *beside)[0]
    except AdaptError:
        return None
    return x_hat if bool(torch.isfinite(x_hat).all()) else None


def _joined(parts: tuple[Tensor | None, ...]) -> Array | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors).numpy() if len(tensors) == len(parts) else None


def _losses_of(module: nn.Module) -> Iterator[str]:
    """Names of losses that are parts of a model, or that a method of its own classes calls."""
    for kind in {type(part) for part in module.modules()}:
        yield from {kind.__name__} & set(LOSSES)
        for base in kind.__mro__:
            if base.__module__.split(".")[0] in _LIBRARIES:
                continue
            for method in vars(base).values():
                code = getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
                yield from set(getattr(code, "co_names", ())) & set(LOSSES)


def _probabilities(seen: _Seen) -> str:
    """A decoder of probabilities that is scored as one of anything."""
    if LIKELIHOODS[seen.config.likelihood].values != "real" or seen.spread is not None:
        return ""
    if not (_in_unit(seen.x) and _in_unit(seen.x_hat)):
        return ""
    # Of indices nothing lies far outside: the decoder must reach both ends by itself.
    bounded = _in_unit(seen.far) if seen.far is not None else seen.x_hat.min() < _END and seen.x_hat.max() > 1 - _END
    called = [name for name in seen.losses if LOSSES[name][0] == "bernoulli"]
    if not bounded or {LOSSES[name][0] for name in seen.losses} - {"bernoulli"}:
        return ""
    if called:
        evidence = f"its class calls {called[0]}"
    elif (share := _share_at_the_ends(seen.x)) >= _AT_THE_ENDS:
        evidence = f"{share:.0%} of the values in the rows lie at 0 or 1"
    else:
        return ""
    return (
        f"decode gives values in [0, 1] only, and {evidence}, as of a model trained by binary cross-entropy; it is "
        f"scored by {seen.config.likelihood}. If it was trained by cross-entropy, pass --likelihood bernoulli"
    )


def _logits(seen: _Seen) -> str:
    """A decoder of logits that is scored as one of rows, or one of probabilities that is scored as one of logits."""
    logits, likelihood = seen.config.logits, LIKELIHOODS[seen.config.likelihood]
    if not (_in_unit(seen.x) and (likelihood.values == "real" or logits) and _in_unit(seen.x_hat) == logits):
        return ""
    as_rows, as_logits = r_squared(seen.x, seen.x_hat), r_squared(seen.x, 1 / (1 + np.exp(-seen.x_hat)))
    if as_rows is None or as_logits is None:
        return ""
    now, then = (as_logits, as_rows) if logits else (as_rows, as_logits)
    if then < max(now, 0.0) + _BETTER_R2:  # random weights fit nothing, whatever they are taken for
        return ""
    fits = f"they fit better (R² {then:.2f} in place of {now:.2f})"
    if logits:
        return f"decode gives values in [0, 1] only; as probabilities {fits}. If they are, leave --logits out"
    return (
        f"decode gives values from {seen.x_hat.min():.3g} to {seen.x_hat.max():.3g} for rows in [0, 1]; as logits "
        f"{fits}. If it was trained by cross-entropy on logits, pass --likelihood bernoulli --logits"
    )


def _both_signs(seen: _Seen) -> str:
    """A decoder that ends with tanh, for rows that training brought into [-1, 1] and that arrive in [0, 1]."""
    if LIKELIHOODS[seen.config.likelihood].values != "real" or seen.far is None or not _in_unit(seen.x):
        return ""
    if not (-1 <= seen.far.min() < -0.9 and 0.9 < seen.far.max() <= 1):
        return ""
    fed = 2 * seen.x - 1
    now, then = r_squared(seen.x, seen.x_hat), r_squared(fed, seen.again(fed))
    if now is None or then is None or then < max(now, 0.0) + _BETTER_R2:
        return ""
    config = seen.config
    offset = [a + 0.5 * b for a, b in zip(config.offset, config.scale, strict=True)]
    scale = [0.5 * b for b in config.scale]
    return (
        f"decode can give values from -1 to 1, and rows are fed in [0, 1]; fed in [-1, 1] the model fits better "
        f"(R² {then:.2f} in place of {now:.2f}). If training did that, pass --offset {_listed(offset)} "
        f"--scale {_listed(scale)}"
    )


def _loss_called(seen: _Seen) -> str:
    """Another loss, the only one that the model's classes call; a cross-entropy may be of a classifier inside."""
    others = {LOSSES[name][0]: name for name in seen.losses}
    if len(others) != 1:
        return ""
    likelihood, name = next(iter(others.items()))
    if likelihood != "laplace" or seen.config.likelihood not in ("mse", "gaussian"):
        return ""
    return (
        f"its class calls {name}, and it is scored by {seen.config.likelihood}. If it was trained by that loss, pass "
        f"{LOSSES[name][1]}"
    )


def _spread(seen: _Seen) -> str:
    """The second output of a gaussian that is a standard deviation or a variance, taken as logvar.

    A logvar that is positive everywhere says that errors are above 1. Of a log_std or a value before a softplus no
    figure told it from the logvar of a model that was trained too short.
    """
    if seen.config.likelihood != "gaussian" or seen.spread is None or not (seen.spread > 0).all():
        return ""
    squared = np.square(seen.x.astype(np.float64) - seen.x_hat)
    logvar = seen.spread.astype(np.float64)
    times = float((squared * np.exp(-logvar)).mean())
    nats = [float((squared / variance + np.log(variance)).mean()) for variance in (np.exp(logvar), logvar**2, logvar)]
    if times > _TOO_WIDE or min(nats[1:]) > nats[0] - 2 * _BETTER_NATS:
        return ""
    return (
        f"the second value of decode is taken as logvar; it is positive everywhere ({logvar.min():.3g} to "
        f"{logvar.max():.3g}), and the squared errors are {times:.2g} times what that says. If it is a standard "
        "deviation s, let decode return 2 * torch.log(s); if it is a variance v, torch.log(v)"
    )


def _listed(values: list[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _in_unit(values: Array) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _share_at_the_ends(x: Array) -> float:
    """Share of values within ``_END`` of 0 or 1; 0 where one end has next to none."""
    low, high = float((x <= _END).mean()), float((x >= 1 - _END).mean())
    return low + high if min(low, high) >= _AT_EACH_END else 0.0


_HINTS = (_probabilities, _logits, _both_signs, _loss_called, _spread)
