"""What the second value of an encoder can be, and the way from each to logvar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vae_edge_runtime.errors import OptionError

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


def declared_form(scale_form: Any, scale: Any) -> ScaleForm | None:
    """The form that a caller named, under either of its two names; None where neither is given.

    Raises:
        OptionError: no valid form, two different ones, or a number that divides rows.

    Example:
        >>> declared_form(None, "logvar")
        'logvar'
    """
    forms = ", ".join(TO_LOGVAR)
    if scale is not None and not isinstance(scale, str):
        raise OptionError(
            f"scale is {scale!r:.60}; here scale= is the form of the second value of encode ({forms}). Rows are "
            "divided by ExportConfig(scale=(255.0,)), one value or one per channel"
        )
    if scale is not None and scale_form is not None and scale != scale_form:
        raise OptionError(f"scale is {scale!r} and scale_form is {scale_form!r}: they are one option, give one value")
    form = scale_form if scale_form is not None else scale
    if form is not None and form not in TO_LOGVAR:
        raise OptionError(f"scale_form is {form!r:.60}; valid are {forms}")
    return form
