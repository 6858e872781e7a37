"""Rows and maps as PNG, with Pillow and numpy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import InputSpec

Pixels = NDArray[np.uint8]

# Black, violet, orange, light yellow: lightness grows all the way, so it reads in grey too.
_HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64)
_SMALLEST_SIDE = 128
_GAP = 2


def heat(values: NDArray[Any], top: float) -> Pixels:
    """Values from 0 to ``top`` as colours: (..., 3) uint8; larger ones get the last colour."""
    place = np.clip(values / top if top > 0 else values * 0.0, 0.0, 1.0) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - low)[..., None]
    return np.asarray(np.round(_HEAT[low] * (1 - share) + _HEAT[low + 1] * share), dtype=np.uint8)


def as_pixels(row: NDArray[Any], spec: InputSpec) -> Pixels:
    """One image row in data units as (height, width, 3) uint8; float rows are stretched over the model's range.

    Raises:
        OptionError: the model's rows are no images of 1 or 3 channels.
    """
    if spec.layout not in ("nchw", "nhwc"):
        raise OptionError(f"rows of layout '{spec.layout}' are no pictures: name an .npy file instead")
    picture = np.moveaxis(row, 0, -1) if spec.layout == "nchw" else row
    if picture.shape[-1] not in (1, 3):
        raise OptionError(
            f"pictures have 1 or 3 channels, these rows have {picture.shape[-1]}: name an .npy file instead"
        )
    if spec.dtype == "uint8":
        low, high = 0.0, 255.0
    else:
        low, high = spec.low, max(spec.high, spec.low + 1e-9)
    shown = np.clip((picture.astype(np.float64) - low) / (high - low), 0, 1) * 255
    return np.asarray(np.broadcast_to(np.round(shown), (*picture.shape[:2], 3)), dtype=np.uint8)


def overlay(row: NDArray[Any], share: NDArray[Any], spec: InputSpec, top: float) -> Pixels:
    """The map of one row over the row: an image dimmed under its heat, or heat alone, with time from left to right."""
    if spec.layout in ("nchw", "nhwc"):
        axis = 0 if spec.layout == "nchw" else -1
        strength = np.clip(share.sum(axis) / top if top > 0 else share.sum(axis) * 0, 0, 1)[..., None]
        grey = as_pixels(row, spec).mean(-1, keepdims=True)
        mixed = (1 - strength) * grey * 0.75 + strength * heat(share.sum(axis), top)
        return np.asarray(np.round(mixed), dtype=np.uint8)
    flat = share.reshape(1, -1) if share.ndim == 1 else share.reshape(len(share), -1)
    return heat(flat.T if spec.layout == "time_features" else flat, top)


def grid(pictures: list[Pixels], *, columns: int | None = None) -> Pixels:
    """Pictures of one size on white, ``columns`` in a line; None: a grid as square as possible."""
    height, width = pictures[0].shape[:2]
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + _GAP) + _GAP, (i % columns) * (width + _GAP) + _GAP
        sheet[top : top + height, left : left + width] = picture
    return sheet


def to_png(pixels: Pixels, *, smallest_side: int = _SMALLEST_SIDE) -> bytes:
    """PNG bytes; small pictures are enlarged by a whole factor, pixel by pixel.

    Raises:
        MissingDependency: Pillow is not installed.
    """
    require("PIL", extra="images", why="writing pictures")
    from PIL import Image

    factor = max(1, -(-smallest_side // max(pixels.shape[:2])))
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
