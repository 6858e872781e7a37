"""Sliding windows over blocks of rows, with what the guard said of their cells; only one window's rows are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..format.specs import InputSpec
from .guard import Flags
from .rows import Rows
from .state import packed, unpacked

_MOST_ROWS = 1 << 53
"""Of a stream, of which an index is an int64 and a number of JSON."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Some windows of a stream, or single rows of a model that takes such.

    Attributes:
        windows: (n, *input_shape). flags: (n, features) uint8, faults of any row of the window.
        missing: the shape of ``windows``, where any cell is missing, else None.
        late: (n,) bool: a row of the window does not follow the one ahead of it in time.
        ends: (n,) index in the stream of the last row of each. times: seconds or labels of those rows.
    """

    windows: NDArray[Any]
    flags: Flags
    missing: NDArray[np.bool_] | None
    late: NDArray[np.bool_]
    ends: NDArray[np.int64]
    times: tuple[float | str | None, ...]

    def __len__(self) -> int:
        return len(self.ends)

    def index(self, window: int) -> int:
        """Of the last row."""
        return int(self.ends[window])

    def time(self, window: int) -> float | str | None:
        """Of the last row."""
        return self.times[window]


class Windows:
    """Cuts blocks of rows; what comes out does not depend on how the stream was cut into blocks."""

    def __init__(self, spec: InputSpec, stride: int) -> None:
        self._length = spec.shape[0] if spec.layout == "time_features" else 1
        self._single = spec.layout != "time_features"
        self._stride, self._skip, self._seen = stride, 0, 0
        self._held: Rows | None = None
        self._flags: Flags | None = None
        self._steps: NDArray[np.bool_] | None = None
        self.last_time: float | str | None = None
        """Of the newest row, as the source gave it."""

    def cut(self, rows: Rows, flags: Flags, steps: NDArray[np.bool_], at_once: int) -> Iterator[Cut]:
        """Windows that ``rows`` complete, at most ``at_once`` in one piece; flags and steps as ``Guard`` has them."""
        held = rows if self._held is None else _joined(self._held, rows)
        marks = flags if self._flags is None else np.concatenate([self._flags, flags])
        apart = steps if self._steps is None else np.concatenate([self._steps, steps])
        first = self._seen - (len(held) - len(rows))  # stream index of the first row held
        self._seen += len(rows)
        self.last_time = _time(held, len(held) - 1)
        starts = np.arange(self._skip, len(held) - self._length + 1, self._stride)
        for at in range(0, len(starts), at_once):
            yield self._piece(held, marks, apart, starts[at : at + at_once], first)
        following = int(starts[-1]) + self._stride if len(starts) else self._skip
        drop = min(following, len(held))
        self._skip = following - drop
        if drop == len(held):  # rows of the next block may have another shape: pictures of a bundle of tiles
            self._held = self._flags = self._steps = None
        else:
            self._held, self._flags, self._steps = _from(held, drop), marks[drop:].copy(), apart[drop:].copy()

    def state(self) -> dict[str, Any]:
        """Plain values that ``restore`` takes: the rows that the next windows begin with are among them."""
        held = None
        if self._held is not None and self._flags is not None and self._steps is not None and len(self._held):
            held = {
                "values": packed(self._held.values),
                "time": None if self._held.time is None else packed(self._held.time),
                "labels": list(self._held.labels),
                "missing": None if self._held.missing is None else packed(self._held.missing),
                "flags": packed(self._flags),
                "steps": packed(self._steps),
            }
        return {"skip": self._skip, "seen": self._seen, "last_time": self.last_time, "held": held}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self._skip, self._seen, self.last_time = int(state["skip"]), int(state["seen"]), state["last_time"]
        if not (0 <= self._skip < _MOST_ROWS and 0 <= self._seen < _MOST_ROWS):
            raise ValueError("a count of rows is negative or too large")
        held = state["held"]
        if held is None:
            return
        values = unpacked(held["values"], ("float32", "uint8"), (-1, -1))
        time = None if held["time"] is None else unpacked(held["time"], ("float64",), (len(values),))
        missing = None if held["missing"] is None else unpacked(held["missing"], ("bool",), values.shape)
        self._held = Rows(values, time, tuple(map(str, held["labels"])), missing)
        self._flags = unpacked(held["flags"], ("uint8",), (len(values), -1))
        self._steps = unpacked(held["steps"], ("bool",), (len(values),))

    def _piece(self, held: Rows, marks: Flags, apart: NDArray[np.bool_], starts: NDArray[np.int64], first: int) -> Cut:
        ends = starts + self._length - 1
        late = np.asarray(sliding_window_view(apart, self._length)[starts].any(1))
        times = tuple(_time(held, int(end)) for end in ends)
        if self._single:
            part = slice(int(starts[0]), int(starts[-1]) + 1)  # the stride is 1; a view, as a picture may be large
            missing = None if held.missing is None else held.missing[part]
            return Cut(held.values[part], marks[part], missing, late, first + ends, times)
        # (n, features, time), as sliding_window_view puts the window last.
        windows = sliding_window_view(held.values, self._length, axis=0)[starts].transpose(0, 2, 1)
        cells = sliding_window_view(marks, self._length, axis=0)[starts]
        missing = None
        if held.missing is not None and held.missing.any():
            missing = sliding_window_view(held.missing, self._length, axis=0)[starts].transpose(0, 2, 1)
        return Cut(windows, np.bitwise_or.reduce(cells, axis=2), missing, late, first + ends, times)


def _joined(a: Rows, b: Rows) -> Rows:
    time = None
    if a.time is not None or b.time is not None:
        time = np.concatenate([np.full(len(x), np.nan) if x.time is None else x.time for x in (a, b)])
    labels: tuple[str, ...] = ()
    if a.labels or b.labels:
        labels = tuple(label for x in (a, b) for label in (x.labels or [""] * len(x)))
    missing = None
    if a.missing is not None or b.missing is not None:
        missing = np.concatenate([np.zeros(x.values.shape, bool) if x.missing is None else x.missing for x in (a, b)])
    return Rows(np.concatenate([a.values, b.values]), time, labels, missing)


def _from(rows: Rows, start: int) -> Rows:
    """The rows from ``start`` on, as copies: a view would keep the whole block alive."""
    return Rows(
        rows.values[start:].copy(),
        None if rows.time is None else rows.time[start:].copy(),
        tuple(rows.labels[start:]),
        None if rows.missing is None else rows.missing[start:].copy(),
    )


def _time(rows: Rows, index: int) -> float | str | None:
    if rows.labels and rows.labels[index]:
        return rows.labels[index]
    return None if rows.time is None or np.isnan(rows.time[index]) else float(rows.time[index])
