"""Labels, classes and masks from files: one value per row, per step of time, or per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.dataset import as_labels
from vae_edge.data.limits import check_limit
from vae_edge.data.options import TableOptions
from vae_edge.data.table_parquet import ParquetTable
from vae_edge.data.tables import open_table
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.storage.array_files import array_of, mapped_array, open_npz
from vae_edge_runtime.text import counted

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".jsonl", ".parquet")


def read_values(path: Path, name: str | None, table: TableOptions | None = None) -> NDArray[Any]:
    """One array of an .npy or .npz file, or one column of a .csv or .parquet table: numbers or words.

    Args:
        path: the file.
        name: key or column; None where the file holds one only.
        table: how a table is written.

    Raises:
        DataError: absent, damaged, pickled, or there is no such key or column.
        MissingDependency: pyarrow is needed for Parquet.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file; labels are read from {', '.join(SUFFIXES)}")
    if path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
        return _read_table(path, name, table or TableOptions())
    reader = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} ends with none of {', '.join(SUFFIXES)}")
    return reader(path, name)


def to_labels(values: NDArray[Any], n: int, where: str) -> NDArray[np.bool_]:
    """Values of a file, numbers or words such as ``0``, as ``n`` labels.

    Raises:
        DataError: another number of them, or other values than 0 and 1.
    """
    if values.dtype.kind in "US":
        try:
            with np.errstate(all="ignore"):  # 1e400 is no label, and no reason for a warning
                values = values.astype(np.float64)
        except ValueError:
            raise DataError(f"{where} holds words; labels are 0 (normal) or 1 (anomaly)") from None
    return as_labels(values, n, where)


def of_windows(values: NDArray[Any], windows: int, window: int, stride: int, where: str) -> NDArray[Any]:
    """Values per window from values per row of the table: that of the last row, when the window is complete.

    Values that are one per window already are returned as they are.

    Raises:
        DataError: their number fits neither the rows nor the windows.
    """
    if len(values) == windows:
        return values
    last = window - 1 + stride * np.arange(windows)
    if not last[-1] < len(values) <= last[-1] + stride:
        raise DataError(
            f"{where} holds {counted(len(values), 'value')} for {counted(windows, 'window')} of "
            f"{counted(window, 'row')}, cut every {stride}: "
            "give one per row of the table, or one per window"
        )
    return values[last]


def classes_of_folders(row_ids: Sequence[str], normal: str) -> NDArray[np.str_]:
    """The first folder of every image, (n,).

    Raises:
        DataError: an image lies in no sub-folder, or none lies in ``normal``.
    """
    folders = np.array([row_id.partition("/")[0] if "/" in row_id else "" for row_id in row_ids])
    if not folders.all():
        raise DataError(f"{row_ids[int(np.argmin(folders != ''))]} lies in no sub-folder: sort the images into folders")
    if normal not in folders:
        raise DataError(f"there is no sub-folder {normal!r}; there are {', '.join(sorted(set(folders.tolist())))}")
    return folders


def _where(path: Path, name: str | None) -> str:
    return f"{path} [{name}]" if name else str(path)


def _read_npy(path: Path, name: str | None) -> NDArray[Any]:
    if name is not None:
        raise DataError(f"{path} holds one array without a name; {name!r} is for .npz, CSV and Parquet")
    check_limit("bytes of numbers in memory", path.stat().st_size, path)
    return np.array(mapped_array(path))


def _read_npz(path: Path, name: str | None) -> NDArray[Any]:
    with open_npz(path) as arrays:
        return array_of(path, arrays, _choose(path, arrays.files, name))


def _read_table(path: Path, name: str | None, options: TableOptions) -> NDArray[Any]:
    """One column as words, of a table that is read as its rows are."""
    table = open_table(path, options)
    chosen = _choose(path, table.names, name)
    words = table.words(table.names.index(chosen))
    if not words:
        raise DataError(f"{path} holds no rows")
    return np.array(words, dtype=np.str_)


def _read_parquet(path: Path, name: str | None) -> NDArray[Any]:
    table = ParquetTable(path, TableOptions())
    column = table.column(table.names.index(_choose(path, table.names, name)))
    if column.null_count:
        raise DataError(f"{_where(path, name)} has {column.null_count} empty cells")
    values = column.to_numpy()
    return values.astype(np.str_) if values.dtype.kind == "O" else np.asarray(values)


def _choose(path: Path, names: Sequence[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        wrong = "holds several" if name is None else f"has no {name!r}"
        raise DataError(f"{path} {wrong}: name one of {', '.join(names) or 'nothing'}")
    return name
