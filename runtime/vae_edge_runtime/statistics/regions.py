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

    A window is a map of (time, features). NaN is above nothing.

    Args:
        places: the map; channels of an image added up.
        threshold: of one place, such as that of the head ``peak``.
        smallest: area below which a region is left out.

    Raises:
        InputError: ``places`` has not two axes. OptionError: ``threshold`` is NaN.
    """
    bands = Bands(threshold)
    bands.add(places)
    return bands.regions(smallest=smallest)


class Bands:
    """Regions of a map that comes in bands, from its first line to its last; a region may reach over many bands.

    Kept are the runs above the threshold: some 60 bytes each, whatever the size of the map.

    Example:
        >>> bands = Bands(4.0)
        >>> bands.add(np.array([[0, 5, 5]]))
        >>> bands.add(np.array([[0, 0, 9]]))
        >>> [(region.area, region.peak_at) for region in bands.regions()]
        [(3, (1, 2))]
    """

    def __init__(self, threshold: float) -> None:
        """``threshold`` of one place. Raises OptionError where it is NaN."""
        if math.isnan(threshold):
            raise OptionError("the threshold of a map is NaN; pass a number")
        self._threshold = threshold
        self._lines, self._width = 0, 0
        self._runs: list[tuple[NDArray[Any], ...]] = []

    def add(self, places: NDArray[Any]) -> None:
        """The next lines (height, width). Raises InputError where they have not two axes, or another width."""
        if places.ndim != 2:
            raise InputError(f"a map of shape {places.shape} has no regions: pass (height, width), channels added up")
        if self._lines and places.shape[1] != self._width:
            raise InputError(f"a band is {places.shape[1]} wide, the one above it {self._width}: pass bands of one map")
        above = places > self._threshold
        edges = np.diff(np.pad(above, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        lines, starts = np.nonzero(edges == 1)
        ends = np.nonzero(edges == -1)[1]
        if len(lines):
            values = places[above].astype(np.float64)  # line by line, as the runs are
            lengths = ends - starts
            begins = np.cumsum(lengths) - lengths
            peak = np.maximum.reduceat(values, begins)
            at_peak = np.flatnonzero(values == np.repeat(peak, lengths))[::-1]
            run_of = np.repeat(np.arange(len(lines)), lengths)
            peak_column = np.empty(len(lines), dtype=np.intp)
            peak_column[run_of[at_peak]] = (np.flatnonzero(above) % places.shape[1])[at_peak]  # the first is last
            self._runs.append((lines + self._lines, starts, ends, peak, peak_column, np.add.reduceat(values, begins)))
        self._lines, self._width = self._lines + len(places), places.shape[1]

    def regions(self, *, smallest: int = 1) -> tuple[Region, ...]:
        """Those of all bands, the highest peak first; ``smallest``: area below which a region is left out.

        Runs of each line are joined with those they touch in the line above (Rosenfeld & Pfaltz 1966).
        """
        if not self._runs:
            return ()
        lines, starts, ends, run_peak, run_column, run_mass = map(np.concatenate, zip(*self._runs, strict=True))
        names = _joined(lines, starts, ends, self._width)
        by_region = np.argsort(names, kind="stable")
        first_run = np.searchsorted(names[by_region], np.arange(names.max() + 1))

        def over(reduce: np.ufunc, of_runs: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(reduce.reduceat(of_runs[by_region], first_run))

        area, mass, peak = over(np.add, ends - starts), over(np.add, run_mass), over(np.maximum, run_peak)
        at_peak = np.flatnonzero(run_peak == peak[names])[::-1]
        highest = np.empty(len(peak), dtype=np.intp)
        highest[names[at_peak]] = at_peak  # of several equal peaks the first, which is written last
        left, bottom, right = over(np.minimum, starts), over(np.maximum, lines + 1), over(np.maximum, ends)
        order = np.argsort(-peak, kind="stable")
        kept = order[area[order] >= smallest]
        fields = (area, peak, mass, lines[highest], run_column[highest], over(np.minimum, lines), left, bottom, right)
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
