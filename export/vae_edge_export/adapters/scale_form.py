"""What the second value of an encoder can be, and the way from each to logvar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

ScaleForm = Literal["logvar", "log_std", "std", "var", "softplus"]

LOGVAR_RANGE = (-30.0, 20.0)
_SMALLEST_STD = 3e-7  # exp(-30 / 2): the same floor as LOGVAR_RANGE

TO_LOGVAR: dict[ScaleForm, Callable[[Tensor], Tensor]] = {
    "logvar": lambda s: s,
    "log_std": lambda s: 2.0 * s,
    "std": lambda s: 2.0 * torch.log(s.clamp(min=_SMALLEST_STD)),
    "var": lambda s: torch.log(s.clamp(min=_SMALLEST_STD**2)),
    "softplus": lambda s: 2.0 * torch.log(softplus(s).clamp(min=_SMALLEST_STD)),
}
"""``softplus``: the standard deviation is softplus(value), taken outside the encoder."""


def to_logvar(parameter: Tensor, form: ScaleForm) -> Tensor:
    """Logvar of a scale parameter, clamped to ``LOGVAR_RANGE``; the shape of ``parameter``."""
    return TO_LOGVAR[form](parameter).clamp(*LOGVAR_RANGE)


def to_std(parameter: Tensor, form: ScaleForm) -> Tensor:
    """Standard deviation a scale parameter stands for, the shape of ``parameter``."""
    return torch.exp(0.5 * to_logvar(parameter, form))
