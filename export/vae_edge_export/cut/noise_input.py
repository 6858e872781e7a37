"""Noise that a forward takes as an argument: its shape is learnt from the first tensor that it meets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NOISE_NAMES = frozenset(("eps", "epsilon", "noise", "e", "xi", "eta"))
"""Names of such arguments, without a number at their end."""


class NoiseInput:
    """Stands for a tensor of noise. Where it meets a tensor in a product or a sum, it has that tensor's shape."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._drawn: Tensor | None = None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function with noise of the shape of the tensor beside it."""
        kwargs = kwargs or {}
        beside = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not beside:
            raise TypeError("the noise that forward takes meets no tensor whose shape it could have")
        like = max(beside, key=lambda tensor: tensor.ndim)

        def drawn(value: Any) -> Any:
            return value._like(like) if isinstance(value, NoiseInput) else value

        return func(*(drawn(value) for value in args), **{key: drawn(value) for key, value in kwargs.items()})

    def _like(self, tensor: Tensor) -> Tensor:
        if self._drawn is None:
            self._drawn = torch.randn_like(tensor)
        return self._drawn

    def __mul__(self, other: Tensor) -> Tensor:
        return other * self._like(other)

    def __add__(self, other: Tensor) -> Tensor:
        return other + self._like(other)

    __rmul__, __radd__ = __mul__, __add__

    def __getattr__(self, name: str) -> Any:
        raise TypeError(
            f"forward takes its noise as an argument and asks for .{name} of it before it meets a tensor, so its shape "
            "is not known: give the argument a default of None and draw torch.randn_like there"
        )
