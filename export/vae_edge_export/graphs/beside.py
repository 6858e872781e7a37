"""What stands beside a row inside the graphs: a condition, a mask of observed values, or the target of a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vae_edge_runtime.format.specs import Role

if TYPE_CHECKING:
    from .modules import DataUnits


@dataclass(frozen=True, eq=False)
class Beside:
    """How the graphs use what stands beside a row; everything in model units and layout.

    Attributes:
        role: as in ``ConditionSpec``.
        fill: of a mask, what the model is given in place of a missing value: 0, or NaN for a model that takes NaN.
        passes: of a mask, the encoder takes it beside the row.
        target: of a forecast, how targets are brought to model units.
    """

    role: Role = "condition"
    fill: float = 0.0
    passes: bool = True
    target: DataUnits | None = None

    def row(self, x: Tensor, given: Tensor | None) -> Tensor:
        """The row as the model takes it."""
        if self.role != "mask" or given is None:
            return x
        return torch.where(given > 0, x, torch.full_like(x, self.fill))

    def to_encode(self, given: Tensor | None) -> tuple[Tensor, ...]:
        """What the encoder takes beside the row."""
        taken = self.role == "condition" or (self.role == "mask" and self.passes)
        return (given,) if given is not None and taken else ()

    def to_decode(self, given: Tensor | None) -> tuple[Tensor, ...]:
        """What the decoder takes beside the latent."""
        return (given,) if given is not None and self.role == "condition" else ()

    def compared(self, x: Tensor, given: Tensor | None, expected: Tensor) -> Tensor:
        """The row that the decoded one is scored against; a missing value is as expected."""
        if self.role == "target" and self.target is not None and given is not None:
            return self.target.to_model(given)
        if self.role == "mask" and given is not None:
            return torch.where(given > 0, x, expected)
        return x

    def counted(self, share: Tensor, given: Tensor | None) -> Tensor:
        """Shares of elements in a score; those of missing values are 0."""
        return share if self.role != "mask" or given is None else share * given
