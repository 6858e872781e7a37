"""``read``: one call for every kind of file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import counted

from . import folders
from .dataset import Dataset, windows
from .files import advice
from .options import TableOptions
from .tables import SUFFIXES as TABLES
from .tables import read_table

SUFFIXES = (".npy", ".npz", *TABLES)


@checked
def read(
    path: str | os.PathLike[str],
    *,
    window: int | None = None,
    stride: int | None = None,
    columns: Sequence[str] | None = None,
    label_column: str | None = None,
    image_shape: tuple[int, int] | None = None,
    fit: str = "stretch",
    features: Sequence[str] = (),
    table: TableOptions | None = None,
) -> Dataset:
    """Read rows from a file or a folder of pictures; ``Dataset.report`` says what was taken and left out.

    Args:
        path: a folder of pictures, a picture, a pattern such as ``today/*.png``, or a .npy, .npz, .csv, .tsv,
            .jsonl or .parquet file.
        window, stride: cut a table into windows (m, window, features); stride defaults to 1.
        columns: of a table to use, in this order; default: all that the rules take, without the label.
        label_column: of a table, 0 normal and 1 anomaly; of an .npz the key (default ``y``).
        image_shape: (height, width) to resize images to; without it all must be of one size.
        fit: how: ``stretch``, ``pad`` or ``crop``.
        features: names of a model's features: a table's columns are found by these names, in any order.
        table: further options of a table.

    Raises:
        DataError: the file is absent, damaged, of another kind, or its rows do not fit together.
        MissingDependency: Pillow or pyarrow is needed and not installed.

    Example:
        >>> read("day.csv", table=TableOptions(drop=("time",))).report.columns  # doctest: +SKIP
        ('temperature', 'pressure')
    """
    path = Path(path)
    options = table or TableOptions()
    if columns is not None:
        options = replace(options, columns=tuple(columns))
    is_pattern = folders.is_pattern(path)
    if not path.exists() and not is_pattern:
        raise DataError(f"{path} does not exist")
    suffix = path.suffix.lower()
    is_picture = path.is_dir() or is_pattern or suffix in folders.SUFFIXES
    if is_picture:
        from .images import read_images

        rows = read_images(path, image_shape, fit)
    elif suffix in (".npy", ".npz"):
        from .arrays import read_arrays

        rows = read_arrays(path, label_column)
    elif suffix in TABLES:
        rows = read_table(path, options, label_column, features)
    else:
        what = advice(suffix)
        known = ", ".join((*SUFFIXES, *sorted(folders.SUFFIXES)))
        raise DataError(f"{path} is no folder and ends with none of {known}{f': {what}' if what else ''}")
    if suffix not in TABLES or is_picture:
        if options.columns is not None:
            raise DataError(f"columns are for CSV and Parquet; {path} has none")
        if options.given:
            raise DataError(f"options of a table (drop, header, delimiter, decimal, subtract) are not for {path}")
    if image_shape is not None and not is_picture:
        raise DataError(f"an image size is for folders of images; {path} is a file")
    if label_column is not None and rows.labels is None:
        raise DataError(f"a label column is for .npz, CSV and Parquet; {path} has none")
    if window is None:
        if stride is not None:
            raise DataError("stride is the step of a window: give a window too")
    else:
        rows = _cut(rows, path, window, 1 if stride is None else stride)
    return _without_missing(rows) if options.drop_missing else rows


def _cut(rows: Dataset, path: Path, window: int, stride: int) -> Dataset:
    if rows.labels is not None:
        raise DataError(f"{path} has labels per row: windows of labelled rows are not defined, label the windows")
    if rows.condition is not None:
        raise DataError(f"{path} has a condition per row: windows of them are not defined, put one per window beside x")
    x, ids = windows(rows.x, rows.row_ids, window, stride)
    report = rows.report and replace(
        rows.report,
        notes=(
            *rows.report.notes,
            f"cut into {counted(len(x), 'window')} of {counted(window, 'row')}, one every {stride}",
        ),
    )
    return Dataset(x, "time_features", rows.names, ids, report=report)


def _without_missing(rows: Dataset) -> Dataset:
    """Leave out rows, or windows, that hold a missing cell."""
    if rows.x.dtype.kind != "f":
        return rows
    kept = ~np.isnan(rows.x.reshape(len(rows.x), -1)).any(axis=1)
    if kept.all():
        return rows
    if not kept.any():
        raise DataError("every row has a missing cell: leave out the column that lacks them with --drop-columns")
    count = len(kept) - int(kept.sum())
    report = rows.report and replace(
        rows.report,
        rows=int(kept.sum()),
        rows_left_out=(*rows.report.rows_left_out, (counted(count, "row"), "a cell is missing (--drop-missing)")),
    )
    ids = tuple(row_id for row_id, good in zip(rows.row_ids, kept.tolist(), strict=True) if good)
    labels = None if rows.labels is None else rows.labels[kept]
    condition = None if rows.condition is None else rows.condition[kept]
    return Dataset(rows.x[kept], rows.layout, rows.names, ids, labels, condition, report)
