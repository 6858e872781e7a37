"""Where the map of a picture passes the threshold of ``peak``: regions, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from vae_edge_runtime.statistics.regions import Region, regions

SMALLEST_AREA = 2
"""Pixels. A region of one pixel is left out, unless it is the highest of its picture."""

COLUMNS = ("row_id", "region", "top", "left", "bottom", "right", "area", "peak", "peak_row", "peak_column", "mass",
           "threshold")  # fmt: skip


def picture_regions(places: NDArray[Any], threshold: float, *, smallest: int = SMALLEST_AREA) -> tuple[Region, ...]:
    """Regions of one map (height, width) above the threshold of ``peak``, the highest first.

    A region of fewer than ``smallest`` pixels is left out, unless it is the highest: a row that ``peak`` calls an
    anomaly has a region.

    Args:
        places: the map of one picture, one value per pixel.
        threshold: of one pixel.
        smallest: area in pixels.

    Example:
        >>> [region.area for region in picture_regions(np.array([[0, 5, 5, 0, 9]]), 4.0)]
        [1, 2]
    """
    return kept(regions(places, threshold), smallest=smallest)


def kept(every: Sequence[Region], *, smallest: int = SMALLEST_AREA) -> tuple[Region, ...]:
    """The regions of a picture, the highest first, without the small ones: the rule of ``picture_regions``."""
    return tuple(region for i, region in enumerate(every) if i == 0 or region.area >= smallest)


def region_columns(row_id: str, found: Sequence[Region], threshold: float) -> dict[str, list[Any]]:
    """Columns of the table of regions for one picture, a line per region; boxes are in pixels, ends exclusive."""
    lines = [
        (row_id, i, *region.box, region.area, region.peak, *region.peak_at, region.mass, threshold)
        for i, region in enumerate(found, start=1)
    ]
    return {name: [line[k] for line in lines] for k, name in enumerate(COLUMNS)}
