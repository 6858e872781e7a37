"""The input guard: a fault of a sensor is another alarm than an anomaly, and never a score.

Flags are per cell. What a row's flags are does not depend on how a stream is cut into blocks.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.specs import InputSpec
from ..format.stream_rules import GuardSpec
from .rows import Rows
from .state import packed, unpacked

Flags = NDArray[np.uint8]

_GAP_PERIODS = 1.5


class Fault(enum.IntFlag):
    """What is wrong with a cell, a row, or (STALE) with the silence after one."""

    NON_FINITE = 1
    OUT_OF_RANGE = 2
    STUCK = 4
    SATURATED = 8
    GAP = 16
    STALE = 32


def fault_names(flags: int) -> tuple[str, ...]:
    """The faults of one bit field, in words."""
    return tuple(fault.name.lower() for fault in Fault if fault & flags and fault.name)


class Guard:
    """Checks rows one block after the other; keeps one value, one run length and one time.

    Of pictures of a bundle of tiles, which may be large and of several sizes, it keeps a digest.
    """

    def __init__(self, spec: GuardSpec, row: InputSpec) -> None:
        self._spec, self._per_cell = spec, row.layout in ("features", "time_features")
        self._whole_pictures = row.overlap is not None
        low, high = np.array(spec.low), np.array(spec.high)
        span = high - low
        self._low, self._high = low, high
        self._lowest, self._highest = low - spec.margin * span, high + spec.margin * span
        self._may_stick = ~np.array(spec.constant)
        self._last: NDArray[np.generic] | None = None
        self._run: NDArray[np.int64] | None = None
        self._time: float | None = None
        self.late = 0
        """Rows whose time lies before that of the row ahead of them."""
        self.steps: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        """Rows of the last block that do not follow the one ahead of them in time, (n,)."""

    def check(self, rows: Rows) -> Flags:
        """(n, features) uint8 of ``Fault``, n at least 1; of images (n, 1)."""
        values = rows.values
        if self._per_cell:
            missing = np.zeros(values.shape, dtype=bool) if rows.missing is None else rows.missing
            low, high, unknown = values, values, ~np.isfinite(values)
        else:
            axes = tuple(range(1, values.ndim))
            missing = np.zeros((len(values), 1), dtype=bool)
            with np.errstate(invalid="ignore"):
                low, high = values.min(axes)[:, None], values.max(axes)[:, None]
            unknown = ~(np.isfinite(low) & np.isfinite(high))  # NaN is its own minimum; no mask as large as a picture
        if self._whole_pictures:
            values = _digests(values)
        flags = np.zeros(unknown.shape, dtype=np.uint8)
        flags[missing] |= np.uint8(Fault.GAP)
        flags[unknown & ~missing] |= np.uint8(Fault.NON_FINITE)
        known = ~unknown & ~missing
        with np.errstate(invalid="ignore"):
            flags[known & ((low < self._lowest) | (high > self._highest))] |= np.uint8(Fault.OUT_OF_RANGE)
            runs = self._runs(values, known)
            at_rail = (high <= self._low) | (low >= self._high)
        if self._spec.saturated_rows:
            flags[known & at_rail & self._may_stick & (runs >= self._spec.saturated_rows)] |= np.uint8(Fault.SATURATED)
        if self._spec.stuck_rows:
            flags[known & ~at_rail & self._may_stick & (runs >= self._spec.stuck_rows)] |= np.uint8(Fault.STUCK)
        self.steps = self._gaps(rows.time, len(values))
        flags[self.steps] |= np.uint8(Fault.GAP)
        return flags

    def state(self) -> dict[str, Any]:
        """Plain values that ``restore`` takes."""
        begun = self._last is not None and self._run is not None
        return {
            "last": packed(self._last) if begun and self._last is not None else None,
            "run": packed(self._run) if begun and self._run is not None else None,
            "time": None if self._time is None else packed(np.array([self._time])),
            "late": self.late,
        }

    def restore(self, state: Mapping[str, Any], *, same_clock: bool) -> None:
        """Go on where ``state`` was taken; the time of the last row counts where the source still has that clock."""
        if state["last"] is not None:
            self._last = unpacked(state["last"], ("float32", "uint8"), (1, -1))
            self._run = unpacked(state["run"], ("int64",), (-1,))
        if state["time"] is not None and same_clock:
            self._time = float(unpacked(state["time"], ("float64",), (1,))[0])
        self.late = int(state["late"])

    def _runs(self, values: NDArray[np.generic], known: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many rows in a row, up to this one, have held this value: (n, features)."""
        n = len(values)
        if self._last is None or self._run is None:
            self._last, self._run = values[:1], np.zeros(known.shape[1], dtype=np.int64)
        same = np.concatenate([self._last, values[:-1]]) == values
        if not self._per_cell:
            same = same.all(tuple(range(1, values.ndim)))[:, None]
        same &= np.concatenate([self._run[None] > 0, known[:-1]])  # a run is of values that are known
        index = np.arange(n)[:, None]
        changed = np.maximum.accumulate(np.where(same & known, -1, index), axis=0)
        runs = np.where(changed < 0, self._run + index + 1, index - changed + 1)
        runs[~known] = 0
        self._last, self._run = values[-1:].copy(), runs[-1]
        return runs

    def _gaps(self, time: NDArray[np.float64] | None, n: int) -> NDArray[np.bool_]:
        """Rows before which others are missing, or that come too late, (n,) bool."""
        if time is None:
            return np.zeros(n, dtype=bool)
        before = np.concatenate([[time[0] if self._time is None else self._time], time[:-1]])
        self._time = float(time[-1])
        with np.errstate(invalid="ignore"):  # inf - inf
            step = time - before
        late = step < 0
        self.late += int(late.sum())
        longest = _GAP_PERIODS * self._spec.period_s if self._spec.period_s else np.finfo(np.float64).max
        return np.asarray(late | ~(step <= longest))  # also beside a time that is not finite


def _digests(pictures: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(n, 32): equal ones are of pictures that are equal in size and in every value."""
    size = repr(pictures.shape[1:]).encode()
    rows = [hashlib.sha256(size + hashlib.sha256(np.ascontiguousarray(p).data).digest()).digest() for p in pictures]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(pictures), 32)
