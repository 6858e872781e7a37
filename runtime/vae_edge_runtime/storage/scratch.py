"""Rows and maps that are too many for memory: in a file without a name, which the system writes out where it must.

Imported by readers and by the exporter, and where maps of large pictures are made.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError

Array = NDArray[Any]
IN_MEMORY_BYTES = 256 << 20
"""Of rows that are held in memory; more lie in the temporary folder, which ``TMPDIR`` names."""
_PIECE_BYTES = 16 << 20


def scratch_array(shape: tuple[int, ...], dtype: Any, *, what: str = "rows") -> Array:
    """An array to be filled; ``what`` is in it, for the message.

    Raises:
        StorageError: it is large, and the temporary folder has no room for it.

    Example:
        >>> scratch_array((2, 3), np.uint8).shape
        (2, 3)
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="vae-edge-") as file:
            if hasattr(os, "posix_fallocate"):  # a file with holes ends the process where the disk is full
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)  # keeps the file until the last array of it is gone
    except OSError as error:
        raise StorageError(
            f"{size:,} bytes of {what} need a file in the temporary folder {tempfile.gettempdir()}, which cannot be "
            f"made ({error.strerror or error}): set TMPDIR to a folder with room"
        ) from error
    return np.frombuffer(mapped, dtype).reshape(shape)


def picked(x: Array, chosen: NDArray[np.bool_]) -> Array:
    """The rows of ``x`` where ``chosen`` (n,) is True, a few at a time."""
    positions = np.flatnonzero(chosen)
    made = scratch_array((len(positions), *x.shape[1:]), x.dtype)
    step = rows_per_piece(x)
    for start in range(0, len(positions), step):
        made[start : start + step] = x[positions[start : start + step]]
    return made


def contiguous(x: Array) -> Array:
    """``x`` with its axes in the order of memory; rows are moved a few at a time where they are not."""
    if x.flags.c_contiguous:
        return x
    made = scratch_array(x.shape, x.dtype)
    step = rows_per_piece(x)
    for start in range(0, len(x), step):
        made[start : start + step] = x[start : start + step]
    return made


def rows_per_piece(x: Array) -> int:
    """Rows that are worked on at once, so that copies of them in float64 stay small."""
    return max(1, _PIECE_BYTES // max(1, prod(x.shape[1:]) * x.dtype.itemsize))
