"""The support of the rows at hand: made-up rows stay inside it where a model may have no answer outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.specs import Layout
from vae_edge_runtime.storage.scratch import rows_per_piece

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Support:
    """What values each column of a row takes. A column is a feature; all pixels of an image are one column.

    Attributes:
        low, high: (features,) or (1,) smallest and largest value seen.
        whole: of the same shape; the column holds whole numbers only, such as categorical codes or counts.
    """

    low: Array
    high: Array
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, x: Array, layout: Layout) -> Support:
        """From rows ``x`` (n, *row_shape), a few at a time: float64 takes up to eight times their bytes."""
        image = layout in ("nchw", "nhwc") or x.ndim > 3
        if image and x.dtype == np.uint8:
            return cls(np.zeros(1), np.full(1, 255.0), np.ones(1, dtype=bool))  # a camera sends any of them
        step = rows_per_piece(x)
        pieces = [cls._of_piece(x[start : start + step], image) for start in range(0, len(x), step)]
        return cls(
            np.min([piece.low for piece in pieces], axis=0),
            np.max([piece.high for piece in pieces], axis=0),
            np.all([piece.whole for piece in pieces], axis=0),
        )

    @classmethod
    def _of_piece(cls, x: Array, image: bool) -> Support:
        values = x.astype(np.float64)
        columns = values.reshape(-1, 1) if image else values.reshape(-1, values.shape[-1])
        whole = np.all(columns == np.round(columns), axis=0)
        return cls(columns.min(axis=0), columns.max(axis=0), whole)

    def kept(self, rows: Array) -> Array:
        """``rows`` (..., *row_shape) with whole columns rounded into their range, and no sign that was never seen."""
        inside = np.clip(np.round(rows), self.low, self.high)
        signed = np.where(self.low >= 0, np.abs(rows), np.where(self.high <= 0, -np.abs(rows), rows))
        return np.where(self.whole, inside, signed)
