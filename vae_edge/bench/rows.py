"""The rows that are scored: the user's, or those the bundle carries as golden vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import VAE
from vae_edge_runtime.errors import InputError
from vae_edge_runtime.format.specs import ConditionSpec, InputSpec
from vae_edge_runtime.scoring.purpose import refuse_unscored

MOST_BATCHES = 16
"""Kept per cell; calls go round them, so that no call finds its very own rows in a cache."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Raw rows and what is known about them.

    Attributes:
        x: (n, *input_shape). condition: one per row, of a conditional model.
        labels: (n,) bool, True for anomalies; None where they are not known.
        source: the file, or the bundle's own golden rows.
    """

    x: NDArray[Any]
    condition: NDArray[Any] | None
    labels: NDArray[np.bool_] | None
    source: str
    kind: Literal["file", "golden"]

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int) -> list[Rows]:
        """Up to 16 batches of ``size`` rows, in their order, the rows tiled where there are too few.

        Raises:
            InputError: there is no row.
        """
        if not len(self):
            raise InputError(f"{self.source} holds no row: there is nothing to run")
        count = min(MOST_BATCHES, max(1, len(self) // size))
        order = np.arange(count * size) % len(self)
        return [self.take(order[i : i + size]) for i in range(0, len(order), size)]

    def take(self, which: NDArray[np.intp]) -> Rows:
        """The rows of these numbers, copied into place."""
        return Rows(
            np.ascontiguousarray(self.x[which]),
            None if self.condition is None else np.ascontiguousarray(self.condition[which]),
            None if self.labels is None else self.labels[which],
            self.source,
            self.kind,
        )


def golden_rows(vae: VAE) -> Rows:
    """The rows of the golden vectors: a few normal rows that every bundle carries."""
    manifest, golden = vae.manifest, vae.manifest.golden
    refuse_unscored(manifest)

    def stored(member: str, spec: InputSpec | ConditionSpec) -> NDArray[Any]:
        raw = np.frombuffer(vae.read_member(member), dtype=np.dtype(spec.dtype).newbyteorder("<"))
        return raw.astype(spec.dtype).reshape(golden.rows, *spec.shape)

    condition = None
    if golden.condition is not None and manifest.condition is not None:
        condition = stored(golden.condition, manifest.condition)
    x = stored(golden.input, manifest.input)
    return Rows(x, condition, None, f"{golden.rows} golden rows of the bundle", "golden")
