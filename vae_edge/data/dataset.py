"""Rows with their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.scoring.resolution import columns_of, lost_columns, round_to_float32

from .report import ReadReport
from .row_names import RowNumbers


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a reader gives.

    Attributes:
        x: (n, *row_shape) uint8 or float32, may be memory-mapped; float64 where float32 would lose a column, so
            that ``train`` and ``export`` can name it.
        layout: what the axes are, as in ``ExportConfig``; ``any`` where the file does not say.
        names: of the features, where the file names them.
        row_ids: one per row: a file name, a row number, or the first and last row of a window.
        labels: (n,) bool, True for anomalies; None without a label column, file or folder.
        condition: one per row, for a conditional model: int64 labels or float32 vectors; None
            where the file holds none.
        report: what was taken and left out.
    """

    x: NDArray[Any]
    layout: str
    names: tuple[str, ...]
    row_ids: Sequence[str]
    labels: NDArray[np.bool_] | None = None
    condition: NDArray[Any] | None = None
    report: ReadReport | None = None

    def __len__(self) -> int:
        return len(self.x)


def as_rows(x: NDArray[Any], where: str) -> NDArray[Any]:
    """uint8 and float32 as they are, float64 rounded to float32 unless that loses a column; anything else is refused.

    Raises:
        DataError: another dtype or byte order, or fewer than two axes.
    """
    if not isinstance(x, np.ndarray):  # numpy gives a member of an archive that is no array as bytes
        raise DataError(f"{where} is no numpy array")
    if x.dtype.names:
        raise DataError(f"{where} has named fields ({', '.join(x.dtype.names[:6])}): save them as columns of one array")
    if x.dtype.kind in "mM":
        raise DataError(f"{where} holds times ({x.dtype}), which are no measurement")
    if x.ndim < 2:
        raise DataError(f"{where} has shape {x.shape}; rows need at least two axes (n, features)")
    if x.dtype.kind == "f" and not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    if x.dtype == np.float64:
        columns = columns_of(x, {2: "features", 3: "time_features"}.get(x.ndim, "any"))
        return x if columns is not None and lost_columns(columns) else round_to_float32(x)
    if x.dtype not in (np.uint8, np.float32):
        raise DataError(f"{where} is {x.dtype}; save it as uint8, float32 or float64")
    return x


def as_labels(y: NDArray[Any], n: int, where: str) -> NDArray[np.bool_]:
    """Labels 0 and 1, one per row.

    Raises:
        DataError: other values, or another number of them.
    """
    y = np.asarray(y).reshape(-1)
    if len(y) != n or not np.isin(y, (0, 1)).all():
        raise DataError(f"{where}: labels must be {n} values 0 (normal) or 1 (anomaly)")
    return y.astype(bool)


def windows(x: NDArray[Any], ids: Sequence[str], window: int, stride: int) -> tuple[NDArray[Any], Sequence[str]]:
    """Overlapping windows (m, window, features) over rows (n, features), without copying.

    Raises:
        DataError: fewer rows than one window, or a window or stride below 1.
    """
    if window < 1 or stride < 1:
        raise DataError(f"window {window} and stride {stride} must be at least 1")
    if x.ndim != 2 or len(x) < window:
        raise DataError(f"a window of {window} rows does not fit into data of shape {x.shape}")
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=0)[::stride].transpose(0, 2, 1)
    if isinstance(ids, RowNumbers):
        return view, ids.cut(window, stride)
    return view, tuple(f"{ids[i]}..{ids[i + window - 1]}" for i in range(0, len(x) - window + 1, stride))


def as_condition(condition: NDArray[Any], n: int, where: str) -> NDArray[Any]:
    """Conditions, one per row: whole numbers as int64, others as float32.

    Raises:
        DataError: another number of them, or no numbers.
    """
    condition = np.asarray(condition)
    if condition.ndim < 1 or len(condition) != n or condition.dtype.kind not in "iuf":
        raise DataError(f"{where}: {condition.dtype} {condition.shape}; conditions are {n} numbers or rows of numbers")
    return condition.astype(np.int64) if condition.dtype.kind in "iu" else round_to_float32(condition)
