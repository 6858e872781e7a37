"""Rows, labels and targets that the families of the compatibility page are tried on."""

from __future__ import annotations

from collections.abc import Callable

import handmade
import numpy as np

ROWS = 150


def features(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, handmade.FEATURES)).astype(np.float32)


def unit_features(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROWS, handmade.FEATURES)).astype(np.float32)


def classes(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 8, (ROWS, handmade.FEATURES)).astype(np.float32)


def pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROWS, 1, 16, 16)).astype(np.float32)


def colour(rng: np.random.Generator) -> np.ndarray:
    return (rng.random((ROWS, 3, 16, 16)) * 2 - 1).astype(np.float32)


def small_pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROWS, 1, 8, 8)).astype(np.float32)


def windows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 20, 5)).astype(np.float32)


def short_windows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 5, 3)).astype(np.float32)


def features_with_nan(rng: np.random.Generator) -> np.ndarray:
    x = features(rng)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def forecast_windows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 12, 3)).astype(np.float32)


def forecast_targets(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 4, 2)).astype(np.float32)


def masks(rng: np.random.Generator) -> np.ndarray:
    return (rng.random((ROWS, handmade.FEATURES)) > 0.3).astype(np.float32)


def frames(count: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Clips of so many frames of 16 x 16 pixels."""
    return lambda rng: (rng.random((ROWS, 3, count, 16, 16)) * 2 - 1).astype(np.float32)


def sound(rng: np.random.Generator) -> np.ndarray:
    return (rng.random((ROWS, 2, 64)) * 2 - 1).astype(np.float32)


def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, handmade.LabelConditional.classes, ROWS)


def three_labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 3, ROWS)


def vectors(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 5)).astype(np.float32)
