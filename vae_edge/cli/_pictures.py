"""Rows and maps as PNG, with Pillow and numpy."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.maps.colours import Pixels, as_pixels, heat, over_picture, strip
from vae_edge.maps.places import is_picture, places_of
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.specs import InputSpec

__all__ = ["as_pixels", "decoded_spec", "grid", "heat", "overlay", "to_png"]

_SMALLEST_SIDE = 128
_GAP = 2


def decoded_spec(manifest: Manifest) -> InputSpec:
    """The scale of decoded rows, for ``as_pixels``: that of the input, only their dtype may be another."""
    spec = manifest.input
    if spec.dtype == "uint8" and manifest.output.dtype == "float32":
        return dataclasses.replace(spec, dtype="float32", low=0.0, high=255.0)
    return spec


def overlay(row: NDArray[Any], share: NDArray[Any], spec: InputSpec, top: float) -> Pixels:
    """The map of one row over the row: heat over an image, or heat alone, with time from left to right."""
    if is_picture(spec):
        return over_picture(as_pixels(row, spec), places_of(share[None], spec)[0], top)
    return strip(share, spec, top)


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
