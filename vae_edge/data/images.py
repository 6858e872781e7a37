"""Images in folders, as uint8 NHWC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError

from .dataset import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}


def read_images(folder: Path, shape: tuple[int, int] | None) -> Dataset:
    """All images below a folder, sorted by name: x (n, height, width, 1 or 3) uint8.

    Grey files stay grey where all are; one colour file makes all colour. Nothing is resized
    unless ``shape`` (height, width) says so.

    Raises:
        DataError: no image, a damaged one, one of more than 8 bits, or images of different sizes.
        MissingDependency: Pillow is not installed.
    """
    require("PIL", extra="images", why="reading images")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    rows: list[NDArray[Any]] = []
    for file in files:
        rows.append(read_image(file, shape))
        if rows[-1].shape[:2] != rows[0].shape[:2]:
            raise DataError(
                f"{files[0]} is {rows[0].shape[1]}x{rows[0].shape[0]}, "
                f"{file} is {rows[-1].shape[1]}x{rows[-1].shape[0]}: "
                "give a size to resize to, or cut them to one size"
            )
    if any(row.shape[2] == 3 for row in rows):
        rows = [np.broadcast_to(row, (*row.shape[:2], 3)) for row in rows]
    return Dataset(np.stack(rows), "nhwc", (), tuple(f.relative_to(folder).as_posix() for f in files))


def read_image(file: Path, shape: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image, (height, width, 1 or 3) uint8, resized where ``shape`` (height, width) says so.

    Raises:
        DataError: it is damaged, or has more than 8 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode[:1] in ("I", "F"):
                raise DataError(
                    f"{file} has more than 8 bits per pixel (mode {image.mode}), which would be cut to 255: "
                    "save such images as one .npy array of float32"
                )
            picture = image.convert("L" if image.mode in ("L", "1", "LA") else "RGB")
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} is not a readable image: {error}") from error
    if shape is not None:
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
