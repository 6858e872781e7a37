"""Pictures to try inspection on: a flower of scikit-learn as the part, photographed often, and planted defects.

python examples/inspection/make_parts.py parts
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

SIDE = 48


def photographs(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pictures (n, SIDE, SIDE, 3) of one part: up to one pixel beside its place, in light that differs, with noise."""
    flower = load_sample_image("flower.jpg").astype(np.float64)[40:400, 140:500]
    small = np.asarray(Image.fromarray(flower.astype(np.uint8)).resize((SIDE + 2, SIDE + 2)), dtype=np.float64)
    shifts = rng.integers(0, 3, (n, 2))
    parts = np.stack([small[r : r + SIDE, c : c + SIDE] for r, c in shifts])
    light = rng.normal(1.0, 0.04, (n, 1, 1, 1))
    return parts * light + rng.normal(0.0, 3.0, parts.shape)


def scratch(parts: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A light line on each part; returns where."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.zeros(parts.shape[:3], bool)
    for part, mask in zip(parts, masks, strict=True):
        angle, centre = rng.uniform(0, np.pi), rng.uniform(14, SIDE - 14, 2)
        along = (rows - centre[0]) * np.sin(angle) + (columns - centre[1]) * np.cos(angle)
        across = (rows - centre[0]) * np.cos(angle) - (columns - centre[1]) * np.sin(angle)
        mask[:] = (np.abs(along) < 9) & (np.abs(across) < 0.9)
        part[mask] += 60
    return masks


def stain(parts: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A disc of another colour and the same lightness on each part; returns where."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.zeros(parts.shape[:3], bool)
    for part, mask in zip(parts, masks, strict=True):
        centre = rng.uniform(10, SIDE - 10, 2)
        mask[:] = np.hypot(rows - centre[0], columns - centre[1]) < 5
        part[mask] += (30, -15, 0)
    return masks


def main(folder: Path) -> None:
    """Write train/good, calibration/good, test/<kind> and ground_truth/<kind>, as MVTec AD has them."""
    rng = np.random.default_rng(0)
    for place, count in (("train/good", 240), ("calibration/good", 150), ("test/good", 40)):
        save(folder / place, photographs(count, rng))
    for kind, plant in (("scratch", scratch), ("stain", stain)):
        parts = photographs(20, rng)
        masks = plant(parts, rng)
        save(folder / "test" / kind, parts)
        save(folder / "ground_truth" / kind, masks[:, :, :] * 255.0, "_mask")


def save(folder: Path, pictures: NDArray[np.float64], suffix: str = "") -> None:
    """One PNG per picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(np.clip(np.round(pictures), 0, 255).astype(np.uint8)):
        Image.fromarray(picture).save(folder / f"{i:03}{suffix}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "parts"))
