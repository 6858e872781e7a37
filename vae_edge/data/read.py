"""``read``: one call for every kind of file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vae_edge_runtime.errors import DataError

from .dataset import Dataset, windows

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")


def read(
    path: str | os.PathLike[str],
    *,
    window: int | None = None,
    stride: int | None = None,
    columns: Sequence[str] | None = None,
    label_column: str | None = None,
    image_shape: tuple[int, int] | None = None,
) -> Dataset:
    """Read rows from a file or a folder of images.

    Args:
        path: a folder of PNG, JPEG or BMP files, or a .npy, .npz, .csv or .parquet file.
        window, stride: cut a table into windows (m, window, features); stride defaults to 1.
        columns: of a table to use, in this order; default: all but the label.
        label_column: of a table, 0 normal and 1 anomaly; of an .npz the key (default ``y``).
        image_shape: (height, width) to resize images to; without it all must be of one size.

    Raises:
        DataError: the file is absent, damaged, of another kind, or its rows do not fit together.
        MissingDependency: Pillow or pyarrow is needed and not installed.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir():
        from .images import read_images

        found = read_images(path, image_shape)
    elif path.suffix.lower() in (".npy", ".npz"):
        from .arrays import read_arrays

        found = read_arrays(path, label_column)
    elif path.suffix.lower() in (".csv", ".parquet"):
        from .tables import read_table

        found = read_table(path, columns, label_column)
    else:
        raise DataError(f"{path} is no folder and ends with none of {', '.join(SUFFIXES)}")
    if columns is not None and path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"columns are for CSV and Parquet; {path} has none")
    if image_shape is not None and not path.is_dir():
        raise DataError(f"an image size is for folders of images; {path} is a file")
    if label_column is not None and found.labels is None:
        raise DataError(f"a label column is for .npz, CSV and Parquet; {path} has none")
    if window is None:
        if stride is not None:
            raise DataError("stride is the step of a window: give a window too")
        return found
    if found.labels is not None:
        raise DataError(f"{path} has labels per row: windows of labelled rows are not defined, label the windows")
    if found.condition is not None:
        raise DataError(f"{path} has a condition per row: windows of them are not defined, put one per window beside x")
    x, ids = windows(found.x, found.row_ids, window, stride or 1)
    return Dataset(x, "time_features", found.names, ids)
