"""The halves, put together, against the whole: does decode(encode(x)) give what the model's own forward gives?

With its noise pinned to 0 a VAE's forward decodes the posterior mean, so one of the tensors it
returns must be that very reconstruction. This finds what no look at two halves can: an activation
between encoder and heads, a sigmoid after the decoder, a random step that was left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..adapters.recipe import PASSED
from .causes import ReducedTypes
from .door import foreign
from .normalise import fields_of
from .probe import PinnedNoise
from .vae import AdaptedVae

_RTOL = 1e-3
_FACTORS = (30.0, 10.0, 3.0)
_SAME = "decode(encode(x)) is what its forward gives"
_NOT_FINITE = "decode(encode(x)) was not compared with its forward: it is not finite"
_SQUASHED = (
    "its forward gives sigmoid(decode(z)): say likelihood='bernoulli' with logits=True (on the command line "
    "--likelihood bernoulli --logits), or decode=lambda m, z: torch.sigmoid(m.decode(z))"
)


def compare_with_forward(recipe: Recipe, vae: AdaptedVae, feeds: tuple[Tensor, ...], *, logits: bool) -> str:
    """What the comparison showed, in words.

    Args:
        logits: the decoder gives logits, so that a sigmoid after it is no surprise.

    Raises:
        AdaptError: the forward reconstructs something else, and a half of it was found by its name,
            not given by the user.
    """
    outcome = _compare(recipe, vae, feeds, logits=logits)
    # A clamp in forward meets none of the rows at hand, and every anomaly.
    try:
        if outcome == _SAME and _compare(recipe, vae, _extreme(feeds), logits=logits) != _SAME:
            _compare(recipe, vae, _extreme(feeds, whole=True), logits=logits)
    except AdaptError as error:
        raise AdaptError(
            "decode(encode(x)) is what its forward gives on rows as they are, and not on rows 30 times as large: "
            "forward clamps something; write it into encode= or decode="
        ) from error
    return outcome


def _extreme(feeds: tuple[Tensor, ...], *, whole: bool = False) -> tuple[Tensor, ...]:
    """Rows 30, 10 and 3 times as large, and their conditions; only what torch gives finite values for is compared.

    A trained encoder's logvar of 413 on rows 30 times as large is an infinite std, and 0 * inf in forward is NaN:
    nothing is clamped there, and the smaller factors still say so.

    Args:
        whole: leave columns of whole numbers as they are: they may be codes, which look something up.
    """
    x, *beside = feeds
    scaled = torch.cat([factor * x for factor in _FACTORS])
    if whole:
        scaled = torch.where((x == x.round()).all(0), x.repeat(len(_FACTORS), *[1] * (x.ndim - 1)), scaled)
    return (scaled, *(feed.repeat(len(_FACTORS), *[1] * (feed.ndim - 1)) for feed in beside))


def _compare(recipe: Recipe, vae: AdaptedVae, feeds: tuple[Tensor, ...], *, logits: bool) -> str:
    if recipe.forward is None or not recipe.can_run:
        return "decode(encode(x)) was not compared with its forward: there is none"
    types = ReducedTypes()
    try:
        x_hat = vae.decode(vae.module, vae.encode(vae.module, *feeds)[0], *feeds[1:])[0]
        with types, Steps(x_hat.numel()) as steps, PinnedNoise(0.0):
            returned = recipe.forward(vae.module, *(feed.clone() for feed in feeds))
    except Exception as error:  # a forward that needs more than rows, or takes no large ones, is no fault of its halves
        return f"decode(encode(x)) was not compared with its forward ({type(foreign(error)).__name__})"
    if types.seen is not None:
        return f"decode(encode(x)) was not compared with its forward, which computes in {types.seen}"
    candidates = [t for t in tensors_in(returned) if t.numel() == x_hat.numel() and not _same(t, feeds[0])]
    if not candidates:
        return _compare_with_steps(recipe, steps.results, x_hat, logits=logits)
    if not any(_both_finite(rows, x_hat).any() for rows in candidates):
        return _NOT_FINITE
    squashed = any(_same(rows, torch.sigmoid(x_hat)) for rows in candidates)
    if any(_same(rows, x_hat) for rows in candidates) and not (squashed and not logits and recipe.name != PASSED):
        return _SAME
    if squashed and logits:
        return "sigmoid(decode(encode(x))) is what its forward gives"
    if squashed:
        raise AdaptError(_SQUASHED)
    difference = min(_difference(rows, x_hat) for rows in candidates)
    if recipe.name == PASSED:
        return f"decode(encode(x)) differs from what its forward gives, by {difference:.2g}"
    raise AdaptError(
        f"decode(encode(x)) differs from what its own forward gives, by {difference:.2g}: something happens in forward "
        "between or after the halves that were found (an activation, a reshape, a random step). Write both: "
        "encode=lambda m, x: (mean, scale), decode=lambda m, z: x_hat"
    )


def _compare_with_steps(recipe: Recipe, steps: list[Tensor], x_hat: Tensor, *, logits: bool) -> str:
    """For a forward that returns a loss: whether the reconstruction is one of its steps."""
    if not any(_same(step, x_hat) for step in steps):
        return "decode(encode(x)) was not compared with its forward, which returns no rows"
    if not logits and recipe.name != PASSED and any(_same(step, torch.sigmoid(x_hat)) for step in steps):
        raise AdaptError(_SQUASHED)
    return "decode(encode(x)) is a step of its forward, which returns no rows"


class Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the float results of a given number of elements."""

    def __init__(self, numel: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel, self.results = numel, list[Tensor]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point() and result.numel() == self.numel:
            self.results.append(result.detach().clone())
        return result


def tensors_in(value: Any) -> list[Tensor]:
    """Every float tensor in what a forward returned."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in tensors_in(item)]
    items = value if isinstance(value, Mapping) else fields_of(value)
    return [item for item in items.values() if isinstance(item, Tensor) and item.is_floating_point()]


def _both_finite(a: Tensor, b: Tensor) -> Tensor:
    return torch.isfinite(a.reshape(-1)) & torch.isfinite(b.reshape(-1))


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest difference where both are finite; infinite where they nowhere are."""
    where = _both_finite(a, b)
    differences = (a.reshape(-1) - b.reshape(-1))[where].abs()
    return float(differences.max()) if differences.numel() else float("inf")


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal wherever both are finite, and that is somewhere."""
    if a.numel() != b.numel():
        return False
    where = _both_finite(a, b)
    if not bool(where.any()):
        return False
    left, right = a.reshape(-1)[where].to(b.dtype), b.reshape(-1)[where]
    size = float(right.abs().max())
    return bool(torch.allclose(left, right, rtol=_RTOL, atol=1e-5 * max(size, 1e-6)))
