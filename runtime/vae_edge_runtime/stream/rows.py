"""What a source of a stream gives: rows with their times, one at a time or in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..specs import InputSpec


@dataclass(frozen=True, eq=False)
class Rows:
    """A block of n rows in their order; of sensors (n, features), else (n, *input_shape).

    Attributes:
        values: of the model's dtype. A cell that is missing may hold anything.
        time: (n,) float64 seconds on any clock, to find gaps; None: unknown.
        labels: of the rows, for events: a time as text, a file name; empty: ``time``.
        missing: (n, features) bool, cells that the source left empty: a gap, other than a NaN the sensor sent.
    """

    values: NDArray[Any]
    time: NDArray[np.float64] | None = None
    labels: Sequence[str] = ()
    missing: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values)


def as_rows(item: Any, spec: InputSpec, index: int) -> Rows:
    """A block as it is, or one row: an array or a sequence of numbers, alone or as (time in seconds, values).

    A None among the numbers is a missing cell. ``index`` is that of the first row, for messages.

    Raises:
        InputError: the row has another shape or dtype than the model takes.
    """
    shape = row_shape(spec)
    if not isinstance(item, Rows):
        item = _one_row(item, shape, spec.dtype)
    values = np.asarray(item.values)
    if values.shape[1:] != shape:
        have = f"{values.shape[1:]}" if values.ndim > 1 else "no shape"
        raise InputError(f"row {index} of the stream has shape {have}; the model takes {shape} per row{_named(spec)}")
    if values.dtype != spec.dtype:
        if not (spec.dtype == "float32" and values.dtype.kind in "fiu"):
            raise InputError(f"row {index} of the stream is {values.dtype}; the model takes {spec.dtype}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the guard names
            values = values.astype(np.float32)
    if item.time is not None and len(item.time) != len(values):
        raise InputError(f"{len(item.time)} times for {len(values)} rows at row {index} of the stream")
    return Rows(values, item.time, item.labels, item.missing)


def row_shape(spec: InputSpec) -> tuple[int, ...]:
    """Of one row of the stream: a step of a window, or a whole row of any other model."""
    return spec.shape[1:] if spec.layout == "time_features" else spec.shape


def _one_row(item: Any, shape: tuple[int, ...], dtype: str) -> Rows:
    time = None
    if isinstance(item, tuple) and len(item) == 2 and (item[0] is None or np.ndim(item[0]) == 0) and np.ndim(item[1]):
        time, item = item
    missing = None
    if len(shape) == 1 and not isinstance(item, np.ndarray):
        cells = list(item)
        absent = [cell is None for cell in cells]
        if any(absent):
            missing = np.array([absent])
        item = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    values = np.asarray(item)[None]
    return Rows(values, None if time is None else np.array([time], dtype=np.float64), (), missing)


def _named(spec: InputSpec) -> str:
    return f" ({', '.join(spec.names)})" if 0 < len(spec.names) <= 12 else ""
