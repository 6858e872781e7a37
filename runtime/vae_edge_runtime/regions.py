"""Connected regions of a map above a threshold: where a defect is, and how large. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True)
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
        InputError: ``places`` has not two axes.
    """
    if places.ndim != 2:
        raise InputError(f"a map of shape {places.shape} has no regions: pass (height, width), channels added up")
    above = places > threshold
    edges = np.diff(np.pad(above, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    if not len(lines):
        return ()
    names = np.unique(_joined(lines, starts, ends), return_inverse=True)[1]
    rows, columns = np.nonzero(above)  # line by line, as the runs are
    of = np.repeat(names, ends - starts)
    values = places[rows, columns].astype(np.float64)
    count = int(names.max()) + 1
    order = np.lexsort((-values, of))
    first = order[np.searchsorted(of[order], np.arange(count))]  # the place of each region's peak
    area, mass = np.bincount(of, minlength=count), np.bincount(of, weights=values, minlength=count)
    top, left = np.full(count, places.shape[0]), np.full(count, places.shape[1])
    bottom, right = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for reduce, limits, seen in (
        (np.minimum, top, lines), (np.minimum, left, starts), (np.maximum, bottom, lines + 1),
        (np.maximum, right, ends),
    ):  # fmt: skip
        reduce.at(limits, names, seen)
    found = [
        Region(
            area=int(area[i]),
            peak=float(values[first[i]]),
            mass=float(mass[i]),
            peak_at=(int(rows[first[i]]), int(columns[first[i]])),
            box=(int(top[i]), int(left[i]), int(bottom[i]), int(right[i])),
        )
        for i in np.argsort(-values[first], kind="stable")
        if area[i] >= smallest
    ]
    return tuple(found)


def _joined(lines: NDArray[np.intp], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """One number per run, equal for runs of one region; runs are sorted by line and start, ``ends`` exclusive."""
    parent = list(range(len(lines)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    line, start, end = lines.tolist(), starts.tolist(), ends.tolist()
    upper = 0
    for run in range(len(line)):
        while line[upper] < line[run] - 1 or (line[upper] == line[run] - 1 and end[upper] < start[run]):
            upper += 1
        other = upper
        while line[other] == line[run] - 1 and start[other] <= end[run]:
            parent[root(other)] = root(run)
            other += 1
    return np.array([root(run) for run in range(len(line))])
