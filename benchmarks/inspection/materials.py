"""Three materials, from real pictures inside packages: two textures that are not aligned, and a part that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require

Pictures = NDArray[np.uint8]
SIDE = 64


@dataclass(frozen=True)
class Material:
    """Normal pictures (n, SIDE, SIDE, 3) of two places of one picture: those for training, and those for tests.

    Attributes:
        aligned: whether the part lies at the same place in each picture.
        draw: (n, rng, whether for tests) to pictures.
    """

    name: str
    aligned: bool
    source: str
    draw: Callable[[int, np.random.Generator, bool], Pictures]


def materials() -> tuple[Material, ...]:
    """Bricks and gravel of scikit-image, and its cup of coffee.

    Raises:
        MissingDependency: scikit-image is not installed.
    """
    return (
        Material("brick", False, "skimage.data.brick", _texture("brick", (1.0, 0.72, 0.58))),
        Material("gravel", False, "skimage.data.gravel", _texture("gravel", (0.86, 0.92, 1.0))),
        Material("cup", True, "skimage.data.coffee", _part),
    )


def _picture(name: str) -> NDArray[np.float64]:
    data = require("skimage.data", extra=None, why="this benchmark")
    return np.asarray(getattr(data, name)(), dtype=np.float64)


def _texture(name: str, tint: tuple[float, float, float]) -> Callable[[int, np.random.Generator, bool], Pictures]:
    """Crops of half-size at random places: training from the upper 60 % of the picture, tests from the rest."""

    def draw(n: int, rng: np.random.Generator, test: bool) -> Pictures:
        whole = _picture(name)
        whole = _evenly_lit(whole.reshape(256, 2, 256, 2).mean((1, 3)))
        first, last = (154, 256 - SIDE) if test else (0, 154 - SIDE)
        crops = np.empty((n, SIDE, SIDE, 3))
        for crop in crops:
            top, left = rng.integers(first, last + 1), rng.integers(0, 256 - SIDE + 1)
            crop[:] = whole[top : top + SIDE, left : left + SIDE, None] * np.array(tint)
        return _photographed(crops, rng)

    return draw


def _evenly_lit(whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The photograph without its gradient of light, which would make every test picture unlike the training ones."""
    width = 65
    padded = np.pad(whole, width // 2, mode="reflect")
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    local = (sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width] + sums[:-width, :-width]) / width**2
    return np.clip(whole / local * whole.mean(), 0, 255)


def _part(n: int, rng: np.random.Generator, test: bool) -> Pictures:
    """A cup at one place, up to one pixel beside it."""
    whole = _picture("coffee")[16:384, 128:496]
    steps = np.linspace(0, 366, SIDE + 3)[:-1].astype(int)
    small = np.stack([[whole[r : r + 6, c : c + 6].mean((0, 1)) for c in steps] for r in steps])
    shifts = rng.integers(0, 3, (n, 2))
    return _photographed(np.stack([small[r : r + SIDE, c : c + SIDE] for r, c in shifts]), rng)


def _photographed(pictures: NDArray[np.float64], rng: np.random.Generator) -> Pictures:
    """Light that differs by 4 % from picture to picture, and noise of 3 levels in each pixel."""
    light = rng.normal(1.0, 0.04, (len(pictures), 1, 1, 1))
    noisy = pictures * light + rng.normal(0.0, 3.0, pictures.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
