"""What float32 keeps of a column: a large offset leaves no digits for its changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

LARGEST_ERROR = 1e-3
"""Of rounding to float32, as a share of a column's standard deviation."""
FEWEST_STEPS = 256
"""Steps of float32 that the range of a column of float32 must span, or it was rounded before it came here."""
_ALL_WHOLE = float(1 << 24)
"""From here on float32 does not hold every whole number."""
_VALUES_AT_ONCE = 1 << 22
_ROWS_TO_RANK = 1 << 16


class LostColumn(NamedTuple):
    """A column that float32 cannot hold.

    Attributes:
        place: of the column, from 0. name: of the column, or its index in words.
        rows, distinct: how many values there are, and how many float32 tells apart.
        subtract: a number to subtract from the column in float64, near its mean.
    """

    place: int
    name: str
    rows: int
    distinct: int
    subtract: float

    def __str__(self) -> str:
        return f"{self.name}: float32 keeps {self.distinct:,} different values of {self.rows:,} rows"


def lost_columns(x: NDArray[Any], names: Sequence[str] = ()) -> list[LostColumn]:
    """Columns whose changes float32 cannot hold beside their size.

    Args:
        x: (..., columns) float32 or float64; other dtypes lose nothing.
        names: of the columns.
    """
    if x.dtype not in (np.float32, np.float64) or x.size < 2 * x.shape[-1]:
        return []
    lost = []
    for start, part in _parts(x):
        for index in start + np.flatnonzero(_doubtful(part)):
            if column := _looked_at(part[:, index - start], int(index), names):
                lost.append(column)
    return lost


def constant_columns(x: NDArray[Any], names: Sequence[str] = ()) -> list[str]:
    """Names of the columns of x (..., columns) that have one value in all rows."""
    return [
        names[start + i] if names else f"column {start + i}"
        for start, part in _parts(x)
        for i in np.flatnonzero((part == part[0]).all(axis=0)).tolist()
    ]


def _parts(x: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Some columns at a time, (values, columns), with the index of the first; windows may overlap in memory."""
    step = max(1, _VALUES_AT_ONCE * x.shape[-1] // max(1, x.size))
    for start in range(0, x.shape[-1], step):
        part = x[..., start : start + step]
        yield start, part.reshape(-1, part.shape[-1])


def round_to_float32(x: NDArray[Any]) -> NDArray[Any]:
    """Round numbers; what float32 cannot hold becomes infinity, which scoring marks as non-finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: a NaN that signals, out of a file
        return x.astype(np.float32)


def refuse_lost(x: NDArray[Any], *, names: Sequence[str], what: str) -> None:
    """Refuse rows of which float32 loses a column.

    Args:
        x: (..., columns) float32 or float64.
        names: of the columns, or empty.
        what: the rows, for the message.

    Raises:
        InputError: the message names the columns, and the number to subtract from each.
    """
    lost = lost_columns(x, names)
    if not lost:
        return
    options = " ".join(f"--subtract {_quoted(f'{c.name}={c.subtract!r}')}" for c in lost[:6])
    arrays = ", ".join(f"x[..., {c.place}] - {c.subtract!r}" for c in lost[:6])
    remedy = f"with the options {options}, or in Python with {arrays}" if names else f"with {arrays}"
    raise InputError(
        f"{what}: {'; '.join(map(str, lost[:6]))}. Subtract the offset in float64 before the values are rounded, here "
        f"and on the device, {remedy}; or leave the column out"
    )


def columns_of(x: NDArray[Any], layout: str) -> NDArray[Any] | None:
    """Rows (n, columns) or windows (n, time, columns) as they are; None where rows have no columns (pictures)."""
    is_table = (x.ndim == 2 and layout in ("features", "any")) or (x.ndim == 3 and layout == "time_features")
    return x if is_table else None


def _doubtful(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Columns that may be lost, (columns,), by their size and spread."""
    known = np.abs(x) <= np.finfo(np.float32).max  # not NaN, nor what becomes infinite
    finite = np.where(known, x, np.nan).astype(np.float64)
    finite[:, ~known.any(axis=0)] = 0
    low, high = np.nanmin(finite, axis=0), np.nanmax(finite, axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    if x.dtype == np.float32:
        return np.asarray(((low == high) & (size >= _ALL_WHOLE)) | ((low < high) & (high - low < size * 2.0**-14)))
    return np.asarray((low < high) & (size * 2.0**-25 > LARGEST_ERROR * _spread(finite)))


def _spread(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation of each column, (columns,); that of the middle half where it is smaller, as outliers hide the rest."""
    ranked = np.sort(x[:: -(-len(x) // _ROWS_TO_RANK)], axis=0)  # NaN comes last; nanquantile takes 100 times as long
    last = np.maximum(np.isfinite(ranked).sum(axis=0) - 1, 0)
    low, high = (np.take_along_axis(ranked, (last * share).astype(int)[None], axis=0)[0] for share in (0.25, 0.75))
    middle, deviation = np.nan_to_num(high - low) / 1.349, np.nanstd(x, axis=0)
    return np.asarray(np.where(middle > 0, np.minimum(middle, deviation), deviation))


def _looked_at(column: NDArray[Any], index: int, names: Sequence[str]) -> LostColumn | None:
    v = column[np.isfinite(column)]
    rounded = round_to_float32(v)
    v, rounded = v[np.isfinite(rounded)].astype(np.float64), rounded[np.isfinite(rounded)]
    if len(v) < 2:
        return None
    spread = float(_spread(v[:, None])[0])
    if column.dtype == np.float64:
        lost = spread > 0 and float(np.abs(v - rounded).max()) > LARGEST_ERROR * spread
    else:
        lost = float(np.ptp(v)) < FEWEST_STEPS * float(np.spacing(np.abs(rounded).max()))
    if not lost:
        return None
    scale = 10.0 ** math.floor(math.log10(spread)) if spread > 0 else 1.0
    subtract = float(f"{round(float(np.median(v)) / scale) * scale:.15g}")
    name = names[index] if names else f"column {index}"
    return LostColumn(index, name, len(column), len(np.unique(rounded)), subtract)


def _quoted(text: str) -> str:
    return f"'{text}'" if set(text) & set(" ()'\"$&;*?") else text
