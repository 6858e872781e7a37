"""What tests of sources share."""

from __future__ import annotations

import numpy as np

from vae_edge_runtime.stream import Rows


def read(source: object) -> Rows:
    """All blocks of a source in one."""
    blocks = [block for block in source if block is not None]  # type: ignore[attr-defined]
    assert blocks
    times = [b.time for b in blocks if b.time is not None]
    missing = [np.zeros(b.values.shape, bool) if b.missing is None else b.missing for b in blocks]
    return Rows(
        np.concatenate([b.values for b in blocks]),
        np.concatenate(times) if times else None,
        tuple(label for b in blocks for label in b.labels),
        np.concatenate(missing),
    )
