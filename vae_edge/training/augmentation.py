"""Changes of training pictures that leave them normal: small shifts, light, and mirrors where the material allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import TrainConfig

LARGEST_SHIFT = 32
"""A shift is at most this part of the shorter side, and at least one pixel: 2 pixels of 64."""
BRIGHTNESS = 0.05
"""Light of a picture is multiplied by 1 plus or minus at most this share."""


@dataclass(frozen=True)
class Units:
    """What brightness needs to know of rows in model units, (raw - offset) / scale.

    Attributes:
        dark: a raw 0 in model units, per channel or for all, (k, 1, 1).
        lowest, highest: of all training rows; no changed row passes them.
    """

    dark: Tensor
    lowest: float
    highest: float

    @classmethod
    def of(cls, config: TrainConfig, rows: Tensor) -> Units:
        """Of training rows (n, channels, height, width) in model units."""
        pairs = zip(config.offset or (0.0,), config.scale or (1.0,), strict=True)
        dark = torch.tensor([-offset / scale for offset, scale in pairs], dtype=rows.dtype)
        return cls(dark.reshape(-1, 1, 1), rows.min().item(), rows.max().item())


def augmented(x: Tensor, ways: tuple[str, ...], units: Units, generator: torch.Generator) -> Tensor:
    """Rows (n, channels, height, width) in model units, each changed by every one of ``ways``.

    All that is random comes from ``generator``. Edges that a shift uncovers are mirrored.

    Example:
        >>> x = torch.arange(4.0).reshape(1, 1, 2, 2)
        >>> units = Units(torch.zeros(1, 1, 1), 0.0, 3.0)
        >>> augmented(x, (), units, torch.Generator()).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    for way in ways:
        x = WAYS[way](x, units, generator)
    return x


def _shifted(x: Tensor, units: Units, generator: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    most = max(1, min(height, width) // LARGEST_SHIFT)
    padded = F.pad(x, (most,) * 4, mode="reflect")
    corners = torch.randint(0, 2 * most + 1, (n, 2), generator=generator).tolist()
    return torch.stack(
        [row[:, top : top + height, left : left + width] for row, (top, left) in zip(padded, corners, strict=True)]
    )


def _relit(x: Tensor, units: Units, generator: torch.Generator) -> Tensor:
    factor = 1.0 + BRIGHTNESS * (2.0 * torch.rand((len(x), 1, 1, 1), generator=generator) - 1.0)
    return (units.dark + (x - units.dark) * factor).clamp(units.lowest, units.highest)


def _mirrored(axis: int) -> Callable[[Tensor, Units, torch.Generator], Tensor]:
    def half_of_them(x: Tensor, units: Units, generator: torch.Generator) -> Tensor:
        chosen = torch.rand((len(x), 1, 1, 1), generator=generator) < 0.5
        return torch.where(chosen, x.flip(axis), x)

    return half_of_them


WAYS: dict[str, Callable[[Tensor, Units, torch.Generator], Tensor]] = {
    "shift": _shifted,
    "brightness": _relit,
    "left-right": _mirrored(3),
    "up-down": _mirrored(2),
}
"""By name: what ``TrainConfig.augment`` may hold."""
