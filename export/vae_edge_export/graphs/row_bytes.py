"""How much memory one row needs inside a torch graph, measured by running one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vae_edge_runtime.format.specs import Signature

from ..tracing.torch_state import kept_rng, slow_attention

_AT_ONCE = 2
"""A residual branch keeps as much as the operation at work."""


@dataclass(frozen=True)
class RowBytes:
    """Bytes that one row needs inside a graph, in float32 and in float64, and the multiplications that it takes.

    In float64 PyTorch unfolds what a convolution takes: channels * height * width of the kernel, per output pixel.
    """

    single: int
    double: int
    multiplications: int = 0


def measure_row_bytes(module: nn.Module, signature: Signature, example: Mapping[str, NDArray[Any]]) -> RowBytes:
    """Run one row of ``example`` and look at its largest operation."""
    row = [torch.from_numpy(np.array(example[t.name][:1])) for t in signature.inputs]
    with torch.no_grad(), kept_rng(), slow_attention(), _Largest({id(p) for p in module.parameters()}) as largest:
        module(*row)
    doubled = 8 * (_AT_ONCE * largest.values + largest.unfolded)
    return RowBytes(_AT_ONCE * 4 * largest.values, doubled, largest.multiplications)


_PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1}
"""Operations that multiply matrices, and which argument is the first of them."""


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most values that one operation takes and gives, and the most that a convolution unfolds."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights, self.values, self.unfolded, self.multiplications = weights, 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        result = func(*args, **(kwargs or {}))
        taken = [leaf for leaf in tree_leaves((args, kwargs or {})) if self._counts(leaf)]
        given = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.values = max(self.values, sum(t.numel() for t in (*taken, *given)))
        if func._schema.name == "aten::convolution":
            self.unfolded = max(self.unfolded, _unfolded(args, result))
            pixels = math.prod((args[0] if args[6] else result).shape[1:])
            self.multiplications += math.prod(args[1].shape[1:]) * pixels
        elif (product := _PRODUCTS.get(func._schema.name)) is not None:
            self.multiplications += math.prod(args[product].shape) * args[product + 1].shape[-1]
        return result

    def _counts(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and id(leaf) not in self.weights


def _unfolded(args: Sequence[Any], result: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    pixels = math.prod((x if transposed else result).shape[2:])
    return int(pixels * math.prod(weight.shape[1:]))
