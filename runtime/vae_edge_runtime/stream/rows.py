"""What a source of a stream gives: rows with their times, one at a time or in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import InputError
from ..format.specs import InputSpec
from ..scoring.resolution import round_to_float32
from ..text import counted


@dataclass(frozen=True, eq=False)
class Rows:
    """A block of n rows in their order; of sensors (n, features), else (n, *input_shape).

    Attributes:
        values: of the model's dtype. A cell that is missing may hold anything. Of a bundle of tiles pictures
            (n, height, width, channels) or (n, channels, height, width) of any larger size.
        time: (n,) float64 seconds on any clock, to find gaps; None: unknown.
        labels: of the rows, for events: a time as text, a file name; empty: ``time``.
        missing: (n, features) bool, cells that the source left empty: a gap, other than a NaN the sensor sent.
    """

    values: NDArray[Any]
    time: NDArray[np.float64] | None = None
    labels: Sequence[str] = ()
    missing: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.labels, (str, bytes)) or not hasattr(self.labels, "__len__"):
            raise InputError(f"labels is {arguments.shown(self.labels)}; pass a list with one label per row")

    def __len__(self) -> int:
        return len(self.values)


def as_rows(item: Any, spec: InputSpec, index: int) -> Rows:
    """A block as it is, or one row: an array or a sequence of numbers, alone or as (time in seconds, values).

    A None among the numbers is a missing cell. ``index`` is that of the first row, for messages.

    Raises:
        InputError: the row has another shape or dtype than the model takes, or its times, labels or missing
            cells do not fit it.
    """
    shape = row_shape(spec)
    if not isinstance(item, Rows):
        try:
            item = _one_row(item, shape)
        except (TypeError, ValueError, OverflowError) as error:  # of numpy: text, None for a row, 400 digits
            raise InputError(f"row {index} of the stream is no row of numbers: {error}{_named(spec)}") from error
    values = np.asarray(item.values)
    if spec.overlap is not None:
        from ..scoring.tiling import check_pictures  # not at the top: few bundles are of tiles

        check_pictures(values, spec, f"row {index} of the stream")
    elif values.shape[1:] != shape:
        have = list(values.shape[1:]) if values.ndim > 1 else "no shape"
        problem = f"has shape {have}; the model takes {list(shape)} per row"
        if values.ndim == 2 and len(shape) == 1:
            problem = f"has {counted(values.shape[1], 'column')}; the model takes {shape[0]}"
        raise InputError(f"row {index} of the stream {problem}{_named(spec)}")
    if values.dtype != spec.dtype:
        if not (spec.dtype == "float32" and values.dtype.kind in "fiu"):
            raise InputError(f"row {index} of the stream is {values.dtype}; the model takes {spec.dtype}")
        values = round_to_float32(values)  # what it cannot hold becomes infinite, which the guard names
    where, labels = f"at row {index} of the stream", tuple(item.labels)
    missing = None if item.missing is None else np.asarray(item.missing)
    if labels and len(labels) != len(values):
        raise InputError(f"{counted(len(labels), 'label')} for {counted(len(values), 'row')} {where}")
    if missing is not None and (missing.dtype != np.bool_ or missing.shape != values.shape):
        raise InputError(f"missing is {missing.dtype} {missing.shape} {where}; pass bool of the rows' {values.shape}")
    return Rows(values, None if item.time is None else _seconds(item.time, len(values), where), labels, missing)


def joined(blocks: Sequence[Rows]) -> Rows:
    """Blocks that follow each other as one: rows of one shape; all have times, or none, and so with labels."""
    if len(blocks) == 1:
        return blocks[0]
    missing = None
    if any(block.missing is not None for block in blocks):
        missing = np.concatenate(
            [np.zeros(block.values.shape, np.bool_) if block.missing is None else block.missing for block in blocks]
        )
    times = [block.time for block in blocks if block.time is not None]
    labels = [label for block in blocks for label in block.labels]
    values = np.concatenate([block.values for block in blocks])
    return Rows(values, np.concatenate(times) if times else None, labels, missing)


def _seconds(time: Any, n: int, where: str) -> NDArray[np.float64]:
    seconds = np.asarray(time)
    if seconds.dtype.kind not in "fiu":  # a datetime64 would become a number of whatever unit it has
        raise InputError(f"a time is {seconds.dtype} {where}; pass seconds as numbers")
    if seconds.shape != (n,):
        raise InputError(f"times of shape {seconds.shape} for {counted(n, 'row')} {where}; pass one per row")
    return seconds.astype(np.float64, copy=False)


def row_shape(spec: InputSpec) -> tuple[int, ...]:
    """Of one row of the stream: a step of a window, or a whole row of any other model."""
    return spec.shape[1:] if spec.layout == "time_features" else spec.shape


def _one_row(item: Any, shape: tuple[int, ...]) -> Rows:
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
    return Rows(values, None if time is None else np.array([time]), (), missing)


def _named(spec: InputSpec) -> str:
    return f" ({', '.join(spec.names)})" if 0 < len(spec.names) <= 12 else ""
