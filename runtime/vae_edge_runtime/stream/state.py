"""What a stream keeps over a restart, as plain values that JSON can hold; no pickle."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Of what ``Stream.state`` returns; another one is refused."""


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """An array as plain values: dtype, shape, and its bytes in base64."""
    raw = np.ascontiguousarray(array)
    return {"dtype": str(raw.dtype), "shape": list(raw.shape), "base64": base64.b64encode(raw.tobytes()).decode()}


def unpacked(plain: Mapping[str, Any], dtypes: Sequence[str], shape: Sequence[int]) -> NDArray[Any]:
    """An array from its plain values; what it says about itself is checked.

    Args:
        plain: of ``packed``.
        dtypes: that it may have.
        shape: that it must begin with; -1: any size.

    Raises:
        ValueError: it is of another dtype or shape, or its bytes do not fill it.
    """
    sizes = tuple(int(size) for size in plain["shape"])
    fits = len(sizes) >= len(shape) and all(want in (-1, have) for want, have in zip(shape, sizes, strict=False))
    if plain["dtype"] not in dtypes or not fits:
        raise ValueError(f"an array of {plain['dtype']!r:.20} {sizes} where {', '.join(dtypes)} {tuple(shape)} belongs")
    raw = base64.b64decode(plain["base64"], validate=True)
    array: NDArray[Any] = np.frombuffer(raw, dtype=np.dtype(str(plain["dtype"]))).reshape(sizes).copy()
    return array
