"""Rows of a file and, where they can be told, their labels, for commands that do not insist on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge.data import Dataset
from vae_edge.evaluation import labels as files
from vae_edge.evaluation.metrics import check_labels
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import InputSpec

from . import _rows

Data = Annotated[
    Path | None,
    typer.Option("--rows", help="Folder of images, .npy, .npz, .csv or .parquet; default: the golden rows.",
                 show_default=False),
]  # fmt: skip
Labels = Annotated[
    Path | None,
    typer.Option(help="Labels, 0 normal and 1 anomaly, of another file: .npy, .npz, .csv or .parquet.",
                 show_default=False),
]  # fmt: skip
ClassColumn = Annotated[
    str | None, typer.Option(help="Column or key, in the same file, of the kinds of anomaly.", show_default=False)
]
Normal = Annotated[
    str | None, typer.Option(help="Of a folder of images: its sub-folder of normal ones.", show_default=False)
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column (key of an .npz, default y) that holds them.", show_default=False)
]


def read_labelled(
    spec: InputSpec,
    path: Path | None,
    labels: Path | None,
    label_column: str | None,
    *,
    window: int | None,
    stride: int | None,
    columns: str | None,
    size: str | None,
) -> tuple[Dataset, NDArray[np.bool_] | None] | None:
    """The rows and their labels; labels None where nothing says which rows are anomalies; None without a file.

    Raises:
        DataError: a file cannot be read. InputError: rows or labels do not fit.
        OptionError: options about rows, and no rows.
    """
    if path is None:
        given: dict[str, Any] = {"labels": labels, "label-column": label_column, "window": window, "stride": stride,
                                 "columns": columns, "image-size": size}  # fmt: skip
        if named := [name for name, value in given.items() if value is not None]:
            raise OptionError(f"--{named[0]} is about rows: pass --rows too")
        return None
    rows = _rows.read_for(spec, path, window=window, stride=stride, columns=columns, size=size)
    source = path if labels is None else labels
    column = "y" if label_column is None and labels is not None and source.suffix.lower() == ".npz" else label_column
    if labels is None and label_column is None:
        marks = rows.labels
    else:
        values = files.read_values(source, column, _rows.table_options())
        cut = _rows.window_length(spec, path, window)
        if cut is not None:
            values = files.of_windows(values, len(rows), cut, stride or 1, str(source))
        marks = files.to_labels(values, len(rows), str(source))
    return rows, None if marks is None else check_labels(marks, len(rows))
