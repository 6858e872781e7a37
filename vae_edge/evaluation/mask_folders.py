"""Masks as pictures in folders, one per anomalous picture, as MVTec AD and VisA have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.fitting import placed
from vae_edge.data.folders import SUFFIXES
from vae_edge.data.images import read_image
from vae_edge_runtime.errors import DataError

_LEAST = 1
"""A pixel of a mask is anomalous from this level on: masks have 0 and 255, or 0 and 1."""


def read_mask_folder(
    folder: Path, row_ids: Sequence[str], labels: NDArray[np.bool_], shape: tuple[int, int], fit: str
) -> NDArray[np.bool_]:
    """Masks (n, height, width) of pictures by their names: ``<kind>/000.png`` has ``<kind>/000_mask.png``.

    The same name without ``_mask``, or with another ending of a picture, will do. A mask of another size is
    brought to ``shape`` as its picture was, each pixel from its nearest. A normal picture needs no mask.

    Args:
        folder: such as ``ground_truth``. row_ids: of the pictures, relative to their folder.
        labels: (n,) True for anomalies. shape: (height, width) of the model. fit: as in ``fitting.placed``.

    Raises:
        DataError: an anomalous picture has no mask, several, or one that cannot be read.
    """
    masks = np.zeros((len(row_ids), *shape), bool)
    for i, row_id in enumerate(row_ids):
        file = _mask_of(folder, PurePosixPath(row_id))
        if file is not None:
            masks[i] = _brought_to(shape, fit, read_image(file, None).max(2) >= _LEAST)
        elif labels[i]:
            name = PurePosixPath(row_id).with_suffix("")
            raise DataError(f"{folder} holds no mask of {row_id}: it would be called {name}_mask.png")
    return masks


def _mask_of(folder: Path, row_id: PurePosixPath) -> Path | None:
    stems = (f"{row_id.stem}_mask", row_id.stem)
    for stem in stems:
        files = [folder / row_id.parent / f"{stem}{ending}" for ending in sorted(SUFFIXES)]
        there = [file for file in files if file.is_file()]
        if len(there) > 1:
            raise DataError(f"{row_id} has several masks: {', '.join(map(str, there))}")
        if there:
            return there[0]
    return None


def _brought_to(shape: tuple[int, int], fit: str, mask: NDArray[Any]) -> NDArray[np.bool_]:
    (top, left, bottom, right), (down, across, height, width) = placed(mask.shape[:2], shape, fit)
    rows = top + ((np.arange(height) + 0.5) * (bottom - top) / height).astype(int)
    columns = left + ((np.arange(width) + 0.5) * (right - left) / width).astype(int)
    made = np.zeros(shape, bool)
    made[down : down + height, across : across + width] = mask[np.ix_(rows, columns)]
    return made
