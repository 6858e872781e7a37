"""PyTorch in float32 with its norms in float64: nearly the digits of float64 for the price of float32.

PyTorch's group norm multiplies and adds with rounded factors. Where a mean is many times the spread that cancels: the
decoder of Stable Diffusion's size is 1.1e-5 from float64 at 256 x 256 by it, and 3.0e-6 with norms in float64. A graph
whose norms subtract the mean first would be held to the worse of two numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_NORMS = frozenset({"aten::native_group_norm", "aten::native_layer_norm"})


class ExactNorms(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside this context group and layer norms of float32 tensors compute in float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        if func._schema.name not in _NORMS or args[0].dtype != torch.float32:
            return func(*args, **(kwargs or {}))
        outputs = func(*(a.double() if isinstance(a, Tensor) else a for a in args), **(kwargs or {}))
        return tuple(output.float() for output in outputs)
