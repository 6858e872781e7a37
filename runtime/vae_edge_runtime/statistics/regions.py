"""Connected regions of a map above a threshold: where a defect is, and how large. Pure numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OptionError
from ..record import record


@record(frozen=True)
class Region:
    """Neighbouring places of a map above a threshold, corners included (8-connectivity).

    Attributes:
        area: places. peak: their largest value; mass: their sum, both in the unit of the map.
        peak_at: (row, column) of the peak. box: (top, left, bottom, right), the last two exclusive.
    """

    area: int
    peak: float
    mass: float
    peak_at: tuple[int, int]
    box: tuple[int, int, int, int]


def regions(places: NDArray[Any], threshold: float, *, smallest: int = 1) -> tuple[Region, ...]:
    """Regions of ``places`` (height, width) above ``threshold``, the highest peak first.

    Runs of each line are joined with those they touch in the line above (Rosenfeld & Pfaltz 1966).
    A window is a map of (time, features). NaN is above nothing.

    Args:
        places: the map; channels of an image added up.
        threshold: of one place, such as that of the head ``peak``.
        smallest: area below which a region is left out.

    Raises:
        InputError: ``places`` has not two axes. OptionError: ``threshold`` is NaN.
    """
    if places.ndim != 2:
        raise InputError(f"a map of shape {places.shape} has no regions: pass (height, width), channels added up")
    if math.isnan(threshold):
        raise OptionError("the threshold of a map is NaN; pass a number")
    above = places > threshold
    edges = np.diff(np.pad(above, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    if not len(lines):
        return ()
    names = _joined(lines, starts, ends, places.shape[1])
    by_region = np.argsort(names, kind="stable")
    first_run = np.searchsorted(names[by_region], np.arange(names.max() + 1))

    def over(reduce: np.ufunc, of_runs: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(reduce.reduceat(of_runs[by_region], first_run))

    values = places[above].astype(np.float64)  # line by line, as the runs are
    lengths = ends - starts
    begins = np.cumsum(lengths) - lengths
    area, mass = over(np.add, lengths), over(np.add, np.add.reduceat(values, begins))
    peak = over(np.maximum, np.maximum.reduceat(values, begins))
    of = np.repeat(names, lengths)
    at_peak = np.flatnonzero(values == peak[of])[::-1]
    found_at = np.empty(len(peak), dtype=np.intp)
    found_at[of[at_peak]] = at_peak  # of several equal peaks the first, which is written last
    rows, columns = np.divmod(np.flatnonzero(above)[found_at], places.shape[1])
    left, bottom, right = over(np.minimum, starts), over(np.maximum, lines + 1), over(np.maximum, ends)
    order = np.argsort(-peak, kind="stable")
    kept = order[area[order] >= smallest]
    fields = (area, peak, mass, rows, columns, over(np.minimum, lines), left, bottom, right)
    return tuple(
        Region(area=a, peak=p, mass=m, peak_at=(row, column), box=tuple(box))
        for a, p, m, row, column, *box in zip(*(f[kept].tolist() for f in fields), strict=True)
    )


def _joined(lines: NDArray[np.intp], starts: NDArray[np.intp], ends: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    """Region 0, 1, ... of each run, numbered by first run; runs are sorted by line and start, ``ends`` exclusive.

    All roots at once are hooked to their smallest neighbour and paths shortened (after Shiloach & Vishkin 1982).
    """
    stride = width + 2  # leaves a gap between the last run of a line and the first of the next
    begin, end = lines * stride + starts, lines * stride + ends
    first = np.searchsorted(end, begin - stride, side="left")  # the runs of the line above that it touches
    touching = np.searchsorted(begin, end - stride, side="right") - first
    upper = np.arange(touching.sum()) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    lower = np.repeat(np.arange(len(lines)), touching)
    root = np.arange(len(lines))
    while len(upper):
        np.minimum.at(root, np.maximum(upper, lower), np.minimum(upper, lower))
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
        upper, lower = root[upper], root[lower]
        apart = upper != lower
        upper, lower = upper[apart], lower[apart]
    return np.asarray((np.cumsum(root == np.arange(len(root))) - 1)[root])
