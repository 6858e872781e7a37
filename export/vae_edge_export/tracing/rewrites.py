"""Functions of PyTorch that have no export, or one with control flow, written in functions that have a plain one.

Every row of the table is exact in real arithmetic, except for those with a series, whose error is beside them. The
comparison with PyTorch, which runs the original, has the last word on each model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .selections import Selections

Rewrite = Callable[..., Any]
"""(selections, *arguments of the function) -> its result, or NotImplemented where the form does not fit."""

__all__ = ["REWRITES", "Selections"]


def _median(_: Selections, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The lower one of two in the middle, as PyTorch has it."""
    if not isinstance(dim, int):
        return NotImplemented
    return torch.return_types.median(_ranked(x, (x.shape[dim] + 1) // 2, dim, keepdim))


def _kthvalue(_: Selections, x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    return torch.return_types.kthvalue(_ranked(x, k, dim, keepdim))


def _ranked(x: Tensor, k: int, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The k-th smallest value along an axis, and its place."""
    values, places = torch.topk(x, k, dim=dim, largest=False)
    found = values.narrow(dim, k - 1, 1), places.narrow(dim, k - 1, 1)
    return found if keepdim else (found[0].squeeze(dim), found[1].squeeze(dim))


def _cumprod(_: Selections, x: Tensor, dim: int, *, dtype: Any = None) -> Any:
    """By doubling: after k steps each element is the product of the 2^k before it."""
    result, shift, size = x if dtype is None else x.to(dtype), 1, x.shape[dim]
    if not isinstance(size, int):
        return NotImplemented
    while shift < size:
        ones = torch.ones_like(result.narrow(dim, 0, shift))
        result = result * torch.cat([ones, result.narrow(dim, 0, size - shift)], dim)
        shift *= 2
    return result


def _cumulative(largest: bool) -> Rewrite:
    def rewrite(_: Selections, x: Tensor, dim: int) -> Any:
        size = x.shape[dim]
        if not isinstance(size, int):
            return NotImplemented
        last = x.movedim(dim, -1) if largest else -x.movedim(dim, -1)
        seen = torch.tril(torch.ones(size, size, dtype=torch.bool))
        spread = torch.where(seen, last.unsqueeze(-2), torch.full_like(last.unsqueeze(-2), -math.inf))
        values = spread.amax(-1)
        # The last of equal values, as PyTorch has it.
        places = size - 1 - spread.flip(-1).argmax(-1)
        both = (values if largest else -values).movedim(-1, dim), places.movedim(-1, dim)
        return (torch.return_types.cummax if largest else torch.return_types.cummin)(both)

    return rewrite


def _logcumsumexp(_: Selections, x: Tensor, dim: int) -> Any:
    size = x.shape[dim]
    if not isinstance(size, int):
        return NotImplemented
    last = x.movedim(dim, -1).unsqueeze(-2)
    seen = torch.tril(torch.ones(size, size, dtype=torch.bool))
    return torch.logsumexp(torch.where(seen, last, torch.full_like(last, -math.inf)), -1).movedim(-1, dim)


def _hypot(_: Selections, x: Tensor, y: Tensor) -> Tensor:
    """Without overflow: the larger one is taken out."""
    long, short = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    ratio = short / torch.where(long > 0, long, torch.ones_like(long))
    return long * torch.sqrt(1.0 + ratio * ratio)


def _erfinv(_: Selections, x: Tensor) -> Tensor:
    """Two polynomials, with an error of 4e-7 relative (Giles, GPU Computing Gems, 2012), and one Newton step."""
    w = -torch.log((1.0 - x) * (1.0 + x))
    inner = _horner(w - 2.5, _CENTRE) * x
    outer = _horner(torch.sqrt(w.clamp(min=5.0)) - 3.0, _TAIL) * x
    y = torch.where(w < 5.0, inner, outer)
    step = (torch.erf(y) - x) * (0.5 * math.sqrt(math.pi)) * torch.exp(torch.clamp(y * y, max=80.0))
    refined = torch.where(w < 5.0, y - step, y)  # in the tail erf has no digits left
    return torch.where(x.abs() < 1.0, refined, x / (1.0 - x.abs()).clamp(min=0.0))


_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
           -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
         0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    result = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + coefficient
    return result


def _ndtri(_: Selections, p: Tensor) -> Tensor:
    return math.sqrt(2.0) * _erfinv(_, 2.0 * p - 1.0)


def _lgamma(_: Selections, x: Tensor) -> Tensor:
    """Stirling's series at x + 8, walked back, with an error below 3e-10 (NIST DLMF 5.11.1, 5.5.1, 5.5.3)."""
    reflected = x < 0.5
    y = torch.where(reflected, 1.0 - x, x)
    shifted = y + 8.0
    series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * shifted * shifted)) / (shifted * shifted)) / shifted
    rising = sum(torch.log(y + k) for k in range(8))
    result = (shifted - 0.5) * torch.log(shifted) - shifted + 0.5 * math.log(2.0 * math.pi) + series - rising
    return torch.where(reflected, math.log(math.pi) - torch.log(torch.sin(math.pi * x).abs()) - result, result)


def _digamma(_: Selections, x: Tensor) -> Tensor:
    """The series at x + 8, walked back, with an error below 1e-10 (NIST DLMF 5.11.2, 5.5.2, 5.5.4)."""
    reflected = x < 0.5
    y = torch.where(reflected, 1.0 - x, x)
    square = 1.0 / ((y + 8.0) * (y + 8.0))
    series = square * (1.0 / 12.0 - square * (1.0 / 120.0 - square * (1.0 / 252.0 - square / 240.0)))
    result = torch.log(y + 8.0) - 0.5 / (y + 8.0) - series - sum(1.0 / (y + k) for k in range(8))
    return torch.where(reflected, result - math.pi / torch.tan(math.pi * x), result)


def _searchsorted(_: Selections, edges: Tensor, x: Any, *, out_int32: bool = False, right: bool = False,
                  side: Any = None, sorter: Any = None) -> Any:  # fmt: skip
    """How many boundaries lie before each value."""
    if not isinstance(x, Tensor) or edges.ndim != 1 or sorter is not None:
        return NotImplemented
    values = x.unsqueeze(-1)
    before = edges <= values if right or side == "right" else edges < values
    return before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _bucketize(_: Selections, x: Any, edges: Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(_, edges, x, out_int32=out_int32, right=right)


def _adaptive_max_pool(axes: int) -> Rewrite:
    """The maximum of each window, one after the other, where windows have different sizes."""

    def rewrite(_: Selections, x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        sizes = [output_size] * axes if isinstance(output_size, int) else list(output_size)
        lengths = list(x.shape[-axes:])
        sizes = [length if size is None else size for size, length in zip(sizes, lengths, strict=True)]
        if return_indices or not all(isinstance(n, int) for n in (*sizes, *lengths)) or math.prod(sizes) > 256:
            return NotImplemented
        for axis, (size, length) in enumerate(zip(sizes, lengths, strict=True), -axes):
            windows = [(i * length // size, -((i + 1) * length // -size)) for i in range(size)]
            x = torch.cat([x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in windows], axis)
        return x

    return rewrite


def _assertion(_: Selections, *args: Any, **kwargs: Any) -> None:
    """A check that only raises is left out of a graph."""


REWRITES: dict[str, Rewrite] = {
    "median": _median,
    "kthvalue": _kthvalue,
    "cumprod": _cumprod,
    "cummax": _cumulative(largest=True),
    "cummin": _cumulative(largest=False),
    "logcumsumexp": _logcumsumexp,
    "hypot": _hypot,
    "erfinv": _erfinv,
    "special_erfinv": _erfinv,
    "special_ndtri": _ndtri,
    "lgamma": _lgamma,
    "special_gammaln": _lgamma,
    "digamma": _digamma,
    "special_digamma": _digamma,
    "special_psi": _digamma,
    "searchsorted": _searchsorted,
    "bucketize": _bucketize,
    "adaptive_max_pool1d": _adaptive_max_pool(1),
    "adaptive_max_pool2d": _adaptive_max_pool(2),
    "adaptive_max_pool3d": _adaptive_max_pool(3),
    "_assert": _assertion,
    "_assert_async": _assertion,
    "__getitem__": Selections.select,
    "masked_select": Selections.select,
    "__setitem__": Selections.assign,
}
"""By the name of the function or method."""
