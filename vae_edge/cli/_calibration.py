"""Calibration and evaluation rows of an export: read, and held against what the model is known to take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data import Dataset
from vae_edge.data.misfit import refuse_pictures, refuse_table
from vae_edge.data.options import split_lessened
from vae_edge.data.tables import SUFFIXES as TABLES
from vae_edge_runtime.errors import DataError, InputError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.scoring.misfit import misfit
from vae_edge_runtime.storage.scratch import contiguous

from . import _rows

if TYPE_CHECKING:
    from vae_edge_export import ExportConfig


def rows_and_layout(
    path: Path, reader: dict[str, Any], options: dict[str, Any], row: InputSpec | None, *, own_offset: bool
) -> tuple[NDArray[Any], NDArray[Any] | None, dict[str, Any]]:
    """Calibration rows, their conditions, and the options completed with what the file says of its axes and columns.

    Args:
        path: of the rows.
        reader: how they are read.
        options: of ``ExportConfig``.
        row: that the model takes, where that is known.
        own_offset: the offset is the user's, in the units of the file: what ``--subtract`` takes off is taken off it.
    """
    dataset = _read(path, reader, options.get("names", ()), row)
    layout = options.get("layout") or dataset.layout
    x = contiguous(_rows.to_layout(dataset.x, dataset.layout, layout))
    if row is not None and x.shape[1:] != row.shape:
        raise InputError(misfit(str(path), x.shape, row.shape))
    names = tuple(options.get("names") or dataset.names)
    minus = np.array([(split_lessened(name) or ("", 0.0))[1] for name in names])
    if own_offset and minus.any():
        scale = np.broadcast_to(options.get("scale", 1.0), minus.shape)
        options = options | {"offset": tuple((options["offset"] - minus).tolist()), "scale": tuple(scale.tolist())}
    return x, dataset.condition, options | {"layout": layout, "names": names}


def labelled_rows(
    path: Path, reader: dict[str, Any], label_column: str | None, config: ExportConfig, row: InputSpec | None
) -> tuple[NDArray[Any], ...]:
    """Rows, labels and, where the file has them, conditions to evaluate with.

    Args:
        path: of the rows.
        reader: how they are read.
        label_column: that holds their labels.
        config: of the export.
        row: that the model takes, where that is known.

    Raises:
        DataError: there are no labels.
    """
    dataset = _read(path, reader, config.names, row, label_column)
    if dataset.labels is None:
        raise DataError(f"{path} holds no labels: an .npz with x and y, or a table with --label-column")
    rows = contiguous(_rows.to_layout(dataset.x, dataset.layout, config.layout))
    return (rows, dataset.labels) if dataset.condition is None else (rows, dataset.labels, dataset.condition)


def _read(
    path: Path, reader: dict[str, Any], names: Sequence[str], row: InputSpec | None, label_column: str | None = None
) -> Dataset:
    if row is not None and path.suffix.lower() in TABLES and path.is_file():
        refuse_table(path, row)
    dataset = _rows.read_said(path, label_column=label_column, features=tuple(names), **reader)
    if row is not None and dataset.layout == "nhwc" and row.layout in ("features", "time_features"):
        refuse_pictures(path, row)
    return dataset
