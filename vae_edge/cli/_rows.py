"""Files named on the command line to rows that fit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data import Dataset, read
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.scoring.inputs import check_rows


def split_columns(columns: str | None) -> tuple[str, ...] | None:
    """``a,b`` to (a, b)."""
    return None if columns is None else tuple(name.strip() for name in columns.split(","))


def image_size(text: str | None) -> tuple[int, int] | None:
    """``64x48`` to (height 64, width 48).

    Raises:
        OptionError: it does not have that form.
    """
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise OptionError(f"image size is {text!r}; write HEIGHTxWIDTH, such as 64x64")
    return int(height), int(width)


def read_for(
    spec: InputSpec,
    path: Path,
    *,
    window: int | None = None,
    stride: int | None = None,
    columns: str | None = None,
    size: str | None = None,
) -> Dataset:
    """Read a file as rows of the shape, dtype and layout a bundle takes.

    Axes are moved where the file says what they are (images); values are never cast.

    Raises:
        DataError: the file cannot be read. InputError: its rows do not fit the model.
    """
    names = split_columns(columns)
    is_table = path.suffix.lower() in (".csv", ".parquet")
    if is_table and names is None and spec.names:
        names = spec.names
    if is_table and spec.layout == "time_features" and window is None:
        window = spec.shape[0]
    found = read(path, window=window, stride=stride, columns=names, image_shape=image_size(size))
    x = to_layout(found.x, found.layout, spec.layout)
    if x.shape[1:] != spec.shape or str(x.dtype) != spec.dtype:
        check_rows(np.empty((len(x), *x.shape[1:]), x.dtype)[:0], shape=spec.shape, dtype=spec.dtype, what=str(path))
    return Dataset(x, spec.layout, found.names, found.row_ids, found.labels, found.condition)


def to_layout(x: NDArray[Any], have: str, want: str) -> NDArray[Any]:
    """Move the channel axis of images where both layouts are known; else leave the axes alone."""
    if (have, want) == ("nhwc", "nchw"):
        return np.transpose(x, (0, 3, 1, 2))
    if (have, want) == ("nchw", "nhwc"):
        return np.transpose(x, (0, 2, 3, 1))
    return x


def window_length(spec: InputSpec, path: Path, window: int | None) -> int | None:
    """Rows per window where the file is cut into windows; None where its rows are rows."""
    is_table = path.suffix.lower() in (".csv", ".parquet")
    return spec.shape[0] if window is None and is_table and spec.layout == "time_features" else window
