"""Values of a map as colours, and rows as pixels; numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import InputSpec

Pixels = NDArray[np.uint8]

# Black, violet, orange, light yellow: lightness grows all the way, so it reads in grey too.
_HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64)


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
        raise OptionError(
            f"rows of layout '{spec.layout}' are no pictures: name an .npy file instead, or say "
            "--layout nchw (or nhwc) at the export, if they are"
        )
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


def strip(share: NDArray[Any], spec: InputSpec, top: float) -> Pixels:
    """The map of a row that is no picture, as heat alone: time from left to right, a line per feature."""
    flat = share.reshape(1, -1) if share.ndim == 1 else share.reshape(len(share), -1)
    return heat(flat.T if spec.layout == "time_features" else flat, top)


def over_picture(picture: Pixels, places: NDArray[Any], top: float) -> Pixels:
    """Heat over a picture (height, width, 3) that keeps its colours: unseen at 0, and from half of ``top`` on strong.

    The strength grows with the cube of the value, so that the texture of normal pictures stays what it is.
    """
    share = np.clip(places / top if top > 0 else places * 0.0, 0.0, 1.0)[..., None]
    strength = np.minimum(0.85, (2 * share) ** 3)
    return np.asarray(np.round((1 - strength) * picture + strength * heat(places, top)), dtype=np.uint8)
