"""Rows to .npy or to one PNG grid."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.scoring.inputs import finite_made
from vae_edge_runtime.storage.files import write_atomic

from . import _pictures

SUFFIXES = (".npy", ".png")
_MOST_PICTURES = 400


def write_rows(
    path: Path,
    rows: NDArray[Any],
    manifest: Manifest,
    partners: NDArray[Any] | None = None,
    *,
    columns: int | None = None,
    replace: bool,
) -> None:
    """Write rows in data units; in a PNG each follows its partner in ``partners``, and 400 are shown at most.

    Args:
        columns: pictures in one line of the grid; None: as square as possible.

    Raises:
        OptionError: PNG was asked for and the rows are no pictures, or the file exists and ``replace`` is False.
        MissingDependency: Pillow is needed. StorageError: the disk refused. BackendError: a row is not finite.
    """
    finite_made(rows)
    if path.suffix.lower() == ".npy":
        write_atomic(path, [npy_bytes(rows)], replace=replace)
        return
    if not len(rows):
        raise OptionError(f"there is no row to draw in {path}: a .npy may hold none, a picture may not")
    spec, decoded = manifest.input, _pictures.decoded_spec(manifest)
    pictures = [_pictures.as_pixels(row, decoded) for row in rows[:_MOST_PICTURES]]
    if partners is not None:
        pairs = zip((_pictures.as_pixels(row, spec) for row in partners[:_MOST_PICTURES]), pictures, strict=True)
        pictures = [np.concatenate(pair, axis=1) for pair in pairs]
    write_atomic(
        path, [_pictures.to_png(_pictures.grid(pictures, columns=columns), smallest_side=512)], replace=replace
    )


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
