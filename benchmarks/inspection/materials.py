"""Three materials, from real pictures inside packages, each aligned and not: two textures and a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require

Pictures = NDArray[np.uint8]
SIDE = 64


@dataclass(frozen=True)
class Material:
    """Normal pictures (n, SIDE, SIDE, 3) of one material.

    Attributes:
        aligned: whether each picture shows the same place, up to one pixel beside it.
        source: where the picture comes from.
        draw: (n, rng, whether from the place that is not for training) to pictures.
    """

    name: str
    aligned: bool
    source: str
    draw: Callable[[int, np.random.Generator, bool], Pictures]

    @property
    def setting(self) -> str:
        """As files and tables name it."""
        return f"{self.name}, {'aligned' if self.aligned else 'not aligned'}"


def materials() -> tuple[Material, ...]:
    """Bricks and gravel of scikit-image, and its cup of coffee, each aligned and not.

    Raises:
        MissingDependency: scikit-image is not installed.
    """
    brick, gravel = (1.0, 0.72, 0.58), (0.86, 0.92, 1.0)
    return (
        Material("brick", True, "skimage.data.brick", _one_place("brick", brick)),
        Material("brick", False, "skimage.data.brick", _texture("brick", brick)),
        Material("gravel", True, "skimage.data.gravel", _one_place("gravel", gravel)),
        Material("gravel", False, "skimage.data.gravel", _texture("gravel", gravel)),
        Material("cup", True, "skimage.data.coffee", _part),
        Material("cup", False, "skimage.data.coffee", _turned_part),
    )


def _picture(name: str) -> NDArray[np.float64]:
    data = require("skimage.data", extra=None, why="this benchmark")
    return np.asarray(getattr(data, name)(), dtype=np.float64)


def _half_size(name: str) -> NDArray[np.float64]:
    return _evenly_lit(_picture(name).reshape(256, 2, 256, 2).mean((1, 3)))


def _texture(name: str, tint: tuple[float, float, float]) -> Callable[[int, np.random.Generator, bool], Pictures]:
    """Crops of half-size at random places: training from the upper 60 % of the picture, all others from the rest."""

    def draw(n: int, rng: np.random.Generator, held_out: bool) -> Pictures:
        whole = _half_size(name)
        first, last = (154, 256 - SIDE) if held_out else (0, 154 - SIDE)
        corners = [(rng.integers(first, last + 1), rng.integers(0, 256 - SIDE + 1)) for _ in range(n)]
        return _photographed(_crops(whole, corners, tint), rng)

    return draw


def _one_place(name: str, tint: tuple[float, float, float]) -> Callable[[int, np.random.Generator, bool], Pictures]:
    """The same crop each time, up to one pixel beside it."""

    def draw(n: int, rng: np.random.Generator, held_out: bool) -> Pictures:
        whole = _half_size(name)
        return _photographed(_crops(whole, [(96 + r, 96 + c) for r, c in rng.integers(-1, 2, (n, 2))], tint), rng)

    return draw


def _crops(
    whole: NDArray[np.float64], corners: Sequence[tuple[int, int]], tint: tuple[float, float, float]
) -> NDArray[np.float64]:
    return np.stack([whole[top : top + SIDE, left : left + SIDE, None] * np.array(tint) for top, left in corners])


def _evenly_lit(whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The photograph without its gradient of light, which would make every test picture unlike the training ones."""
    width = 65
    padded = np.pad(whole, width // 2, mode="reflect")
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    local = (sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width] + sums[:-width, :-width]) / width**2
    return np.clip(whole / local * whole.mean(), 0, 255)


def _part(n: int, rng: np.random.Generator, held_out: bool) -> Pictures:
    """A cup at one place, up to one pixel beside it."""
    whole = _picture("coffee")[16:384, 128:496]
    steps = np.linspace(0, 366, SIDE + 3)[:-1].astype(int)
    small = np.stack([[whole[r : r + 6, c : c + 6].mean((0, 1)) for c in steps] for r in steps])
    shifts = rng.integers(0, 3, (n, 2))
    return _photographed(np.stack([small[r : r + SIDE, c : c + SIDE] for r, c in shifts]), rng)


def _turned_part(n: int, rng: np.random.Generator, held_out: bool) -> Pictures:
    """The cup turned by up to 15 degrees, and up to 5 pixels beside its place."""
    image = require("PIL.Image", extra="images", why="this benchmark")
    whole = image.fromarray(_picture("coffee").astype(np.uint8))
    made = np.empty((n, SIDE, SIDE, 3))
    half = 160  # of 320 pixels, which become SIDE
    for picture in made:
        row, column = 200 + rng.uniform(-25, 25), 312 + rng.uniform(-25, 25)
        turned = whole.rotate(rng.uniform(-15, 15), image.Resampling.BILINEAR, center=(column, row))
        box = (round(column) - half, round(row) - half, round(column) + half, round(row) + half)
        picture[:] = np.asarray(turned.crop(box).resize((SIDE, SIDE), image.Resampling.BOX))
    return _photographed(made, rng)


def _photographed(pictures: NDArray[np.float64], rng: np.random.Generator) -> Pictures:
    """Light that differs by 4 % from picture to picture, and noise of 3 levels in each pixel."""
    light = rng.normal(1.0, 0.04, (len(pictures), 1, 1, 1))
    noisy = pictures * light + rng.normal(0.0, 3.0, pictures.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
