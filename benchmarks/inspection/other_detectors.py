"""What a VAE is held against: nearest neighbours of patches in numpy, and detectors of PyOD on whole pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require

Pictures = NDArray[np.uint8]
_PATCH, _STRIDE, _REMEMBERED = 8, 4, 6000


def patch_neighbours(training: Pictures, rows: Pictures, *, seed: int) -> NDArray[np.float32]:
    """Maps (n, side, side): distance of each patch of 8 x 8 pixels to the nearest of 6,000 training patches.

    The idea of PatchCore (Roth et al. 2022) on raw pixels, without a network: patches of the whole training set are
    drawn at random, and each pixel gets the mean of the patches that cover it.
    """
    memory = _patches(training).reshape(-1, _PATCH * _PATCH * 3)
    rng = np.random.default_rng(seed)
    memory = memory[rng.permutation(len(memory))[:_REMEMBERED]]
    lengths = np.square(memory).sum(1)
    maps = np.zeros(rows.shape[:3], np.float32)
    covered = np.zeros(rows.shape[1:3], np.float32)
    for k, row in enumerate(rows):
        patches = _patches(row[None])[0]
        flat = patches.reshape(-1, _PATCH * _PATCH * 3)
        squared = np.square(flat).sum(1)[:, None] + lengths - 2 * flat @ memory.T
        nearest = np.sqrt(np.maximum(squared.min(1), 0)).reshape(patches.shape[:2])
        for i, line in enumerate(nearest):
            for j, distance in enumerate(line):
                place = slice(i * _STRIDE, i * _STRIDE + _PATCH), slice(j * _STRIDE, j * _STRIDE + _PATCH)
                maps[k][place] += distance
                if k == 0:
                    covered[place] += 1
    return maps / covered


def _patches(pictures: Pictures) -> NDArray[np.float32]:
    """(n, rows, columns, 8, 8, 3) in [0, 1]."""
    view = np.lib.stride_tricks.sliding_window_view(pictures, (_PATCH, _PATCH), axis=(1, 2))
    return np.moveaxis(view[:, ::_STRIDE, ::_STRIDE], 3, -1).astype(np.float32) / 255


def pyod_scores(name: str, training: Pictures, rows: Pictures, *, seed: int) -> NDArray[np.float64]:
    """Scores (n,) of a detector of PyOD with its defaults, on all pixels of a picture.

    Raises:
        MissingDependency: PyOD is not installed.
    """
    module = require(f"pyod.models.{name.lower()}", extra=None, why="the comparison with PyOD")
    options: dict[str, Any] = {"random_state": seed} if name in ("VAE", "IForest") else {}
    detector = getattr(module, name)(**options)
    detector.fit(training.reshape(len(training), -1) / 255.0)
    return np.asarray(detector.decision_function(rows.reshape(len(rows), -1) / 255.0))
