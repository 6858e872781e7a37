"""Elements picked and written by a mask: x[m] = v and y[m] = f(x[m]) are choices between two tensors of one shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ELEMENTWISE = frozenset(
    """
    abs neg exp log log1p log2 log10 expm1 sqrt rsqrt square reciprocal sin cos tan tanh sigmoid relu softplus erf sign
    floor ceil round clamp clip pow add sub mul div true_divide subtract multiply divide rsub maximum minimum
    __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __pow__ __rpow__ __neg__ __abs__
    to float double
    """.split()  # noqa: SIM905
)


class Selections:
    """Remembers which whole tensor and mask a selection was made from."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def select(self, x: Any, mask: Any) -> Any:
        """``x[mask]``: made as it is, and remembered."""
        if not _is_mask(mask) or tuple(mask.shape) != tuple(x.shape[: mask.ndim]):
            return NotImplemented
        selected = x[mask]
        self._made[id(selected)] = (selected, x, mask)  # the first keeps the id from being given again
        return selected

    def follow(self, func: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """Remember the result of an elementwise function of selections of one mask; returns ``result``."""
        picked = [self._made[id(arg)] for arg in args if id(arg) in self._made]
        if not picked or getattr(func, "__name__", "") not in _ELEMENTWISE or not isinstance(result, Tensor):
            return result
        mask = picked[0][2]
        others = [arg for arg in args if isinstance(arg, Tensor) and id(arg) not in self._made and arg.ndim > 0]
        if all(other[2] is mask for other in picked) and not others:
            whole = func(*(self._made[id(arg)][1] if id(arg) in self._made else arg for arg in args), **kwargs)
            self._made[id(result)] = (result, whole, mask)
        return result

    def assign(self, x: Any, index: Any, value: Any) -> Any:
        """``x[mask] = value`` and ``x[:, mask] = value``, as a choice element by element."""
        before, mask = _mask_of(index)
        if mask is None or tuple(mask.shape) != tuple(x.shape[before : before + mask.ndim]):
            return NotImplemented
        where = mask.reshape(*[1] * before, *mask.shape, *[1] * (x.ndim - before - mask.ndim))
        if id(value) in self._made and before == 0:
            _, value, made_with = self._made[id(value)]
            if made_with is not mask:
                return NotImplemented
        elif isinstance(value, Tensor) and value.ndim > x.ndim - before - mask.ndim:
            return NotImplemented  # one value per element picked: how many there are depends on values
        chosen = value if isinstance(value, Tensor) else torch.full_like(x, value)
        x.copy_(torch.where(where, chosen.to(x.dtype), x))
        return None


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool


def _mask_of(index: Any) -> tuple[int, Tensor | None]:
    """The mask in an index, and how many whole axes come before it."""
    if _is_mask(index):
        return 0, index
    if isinstance(index, tuple) and index and _is_mask(index[-1]):
        whole = all(isinstance(item, slice) and item == slice(None) for item in index[:-1])
        return len(index) - 1, index[-1] if whole else None
    return 0, None
