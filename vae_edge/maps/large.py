"""Pictures too large to be drawn pixel by pixel: an overview, and windows at full size on the highest regions.

Picture and map are read in bands, so that the memory taken does not grow with the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.statistics.regions import Bands, Region

from .colours import Pixels, as_pixels
from .draw import MOST_BOXES, marked
from .places import places_of
from .regions import kept
from .scale import MapScale

LARGEST_WHOLE = 1 << 22
"""Pixels of a picture that is drawn pixel by pixel, 2,048 x 2,048; drawing takes some 200 bytes for each."""
OVERVIEW_SIDE, WINDOW_SIDE = 1024, 256
_BAND_PIXELS = 1 << 20


@dataclass(frozen=True, eq=False)
class Overview:
    """A picture and its map in blocks of ``factor`` x ``factor`` pixels.

    Attributes:
        picture: (height, width, 3), the mean of each block. places: (height, width), the largest of each block: a
            region of two pixels is seen.
        regions: of the whole picture, in its own pixels, the highest first.
    """

    factor: int
    picture: Pixels
    places: NDArray[Any]
    regions: tuple[Region, ...]

    def marked(self, scale: MapScale) -> Pixels:
        """The map over the picture, with contours and boxes where the regions are."""
        boxes = [dataclasses.replace(region, box=_shrunk(region.box, self.factor)) for region in self.regions]
        return marked(self.picture, self.places, scale, boxes, 1)


def is_large(row: NDArray[Any], spec: InputSpec) -> bool:
    """Whether a picture of a bundle of tiles has more than ``LARGEST_WHOLE`` pixels."""
    height, width = _sides(row, spec)
    return spec.overlap is not None and height * width > LARGEST_WHOLE


def overview(row: NDArray[Any], values: NDArray[Any], spec: InputSpec, threshold: float | None) -> Overview:
    """Of one picture and its map, both of the layout of ``spec`` and possibly mapped; no regions without a threshold.

    Raises:
        OptionError: the model's rows are no images of 1 or 3 channels.
    """
    height, width = _sides(row, spec)
    factor = -(-max(height, width) // OVERVIEW_SIDE)
    columns = np.arange(0, width, factor)
    size = (-(-height // factor), len(columns))
    sums, largest = np.zeros((*size, 3)), np.full(size, -np.inf, np.float32)
    bands = None if threshold is None else Bands(threshold)
    for part in _bands(height, width):
        places = places_of(_cut(values, spec, part, slice(None))[None], spec)[0]
        if bands is not None:
            bands.add(places)
        lines = np.arange(part.start, part.stop) // factor
        np.maximum.at(largest, lines, np.maximum.reduceat(places, columns, axis=1))
        shown = as_pixels(_cut(row, spec, part, slice(None)), spec)
        np.add.at(sums, lines, np.add.reduceat(shown, columns, axis=1, dtype=np.float64))
    counts = [np.diff(np.append(np.arange(0, length, factor), length)) for length in (height, width)]
    mean = sums / (counts[0][:, None, None] * counts[1][None, :, None])
    return Overview(factor, np.round(mean).astype(np.uint8), largest, () if bands is None else kept(bands.regions()))


def windows(
    row: NDArray[Any], values: NDArray[Any], spec: InputSpec, scale: MapScale, regions: tuple[Region, ...]
) -> list[tuple[str, Pixels]]:
    """Title and pixels of a window on each of the highest regions: the input, and beside it the map with contours."""
    height, width = _sides(row, spec)
    drawn = []
    for number, region in enumerate(regions[:MOST_BOXES], start=1):
        down, across = _around(region, 0, height), _around(region, 1, width)
        picture = as_pixels(_cut(row, spec, down, across), spec)
        places = places_of(_cut(values, spec, down, across)[None], spec)[0]
        gap = np.full((len(picture), 6, 3), 255, np.uint8)
        both = np.concatenate([picture, gap, marked(picture, places, scale, (), 1)], axis=1)
        drawn.append((f"region {number}: row {region.peak_at[0]}, column {region.peak_at[1]}", both))
    return drawn


def _sides(row: NDArray[Any], spec: InputSpec) -> tuple[int, int]:
    down = 1 if spec.layout == "nchw" else 0
    return row.shape[down], row.shape[down + 1]


def _bands(height: int, width: int) -> Iterator[slice]:
    lines = max(1, _BAND_PIXELS // width)
    for top in range(0, height, lines):
        yield slice(top, min(top + lines, height))


def _cut(whole: NDArray[Any], spec: InputSpec, down: slice, across: slice) -> NDArray[Any]:
    return whole[:, down, across] if spec.layout == "nchw" else whole[down, across]


def _around(region: Region, axis: int, length: int) -> slice:
    """A window's part of an axis: around the middle of the region, or around its peak where the region is larger."""
    first, last = region.box[axis], region.box[axis + 2]
    middle = (first + last) // 2 if last - first <= WINDOW_SIDE else region.peak_at[axis]
    start = max(0, min(middle - WINDOW_SIDE // 2, length - WINDOW_SIDE))
    return slice(start, min(start + WINDOW_SIDE, length))


def _shrunk(box: tuple[int, int, int, int], factor: int) -> tuple[int, int, int, int]:
    top, left, bottom, right = box
    return top // factor, left // factor, -(-bottom // factor), -(-right // factor)
