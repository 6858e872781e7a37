"""Five kinds of planted defects; the mask of each marks what was changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]
Mask = NDArray[np.bool_]


def scratch(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A line of 12 to 28 pixels, one or two wide, lighter or darker by 50 levels."""
    side = len(picture)
    length, angle, width = rng.uniform(12, 28), rng.uniform(0, np.pi), rng.uniform(0.6, 1.2)
    centre = rng.uniform(side * 0.25, side * 0.75, 2)
    rows, columns = np.mgrid[:side, :side]
    along = (rows - centre[0]) * np.sin(angle) + (columns - centre[1]) * np.cos(angle)
    across = (rows - centre[0]) * np.cos(angle) - (columns - centre[1]) * np.sin(angle)
    mask = (np.abs(along) < length / 2) & (np.abs(across) < width)
    return _changed(picture, mask, picture + rng.choice((-50, 50))), mask


def spot(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A disc of 2 to 4 pixels radius, lighter or darker by 55 levels."""
    mask = _disc(len(picture), rng.uniform(2, 4), rng)
    return _changed(picture, mask, picture + rng.choice((-55, 55))), mask


def blur(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A disc of 8 to 12 pixels radius that is out of focus: averaged over 7 x 7 pixels."""
    mask = _disc(len(picture), rng.uniform(8, 12), rng)
    padded = np.pad(picture, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    averaged = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(0, 1)).mean((-1, -2))
    return _changed(picture, mask, averaged), mask


def missing(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A rectangle of 8 to 14 pixels a side in which the part is not there: the mean colour of the picture."""
    side = len(picture)
    height, width = rng.integers(8, 15, 2)
    top, left = rng.integers(4, side - height - 4), rng.integers(4, side - width - 4)
    mask = np.zeros(picture.shape[:2], bool)
    mask[top : top + height, left : left + width] = True
    background = picture.mean((0, 1)) + rng.normal(0, 3, picture.shape)
    return _changed(picture, mask, background), mask


def colour(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Mask]:
    """A disc of 5 to 8 pixels radius of another colour and the same luminance (ITU-R BT.601)."""
    mask = _disc(len(picture), rng.uniform(5, 8), rng)
    shift = rng.choice((-1, 1)) * np.array((28.0, -10.0, -21.9)) @ np.eye(3)
    shift -= shift @ (0.299, 0.587, 0.114)
    return _changed(picture, mask, picture + shift), mask


DEFECTS: dict[str, Callable[[Picture, np.random.Generator], tuple[Picture, Mask]]] = {
    "scratch": scratch,
    "spot": spot,
    "blur": blur,
    "missing": missing,
    "colour": colour,
}


def planted(
    pictures: NDArray[np.uint8], kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures (n, side, side, 3) with one defect each, and masks (n, side, side)."""
    made = [DEFECTS[kind](picture.astype(np.float64), rng) for picture in pictures]
    spoilt = np.clip(np.round(np.stack([picture for picture, _ in made])), 0, 255).astype(np.uint8)
    return spoilt, np.stack([mask for _, mask in made])


def _disc(side: int, radius: float, rng: np.random.Generator) -> Mask:
    centre = rng.uniform(radius + 2, side - radius - 2, 2)
    rows, columns = np.mgrid[:side, :side]
    return np.asarray(np.hypot(rows - centre[0], columns - centre[1]) < radius)


def _changed(picture: Picture, mask: Mask, to: Picture) -> Picture:
    return np.where(mask[:, :, None], to, picture)
