"""NumPy files; .npy is memory-mapped, pickles are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.storage.array_files import array_of, key_of, mapped_array, open_npz

from .dataset import Dataset, as_condition, as_labels, as_rows
from .files import check_regular, first_bytes, refuse_other_kind
from .limits import check_limit
from .report import ReadReport, printable, some
from .row_names import RowNumbers


def read_arrays(path: Path, label_key: str | None) -> Dataset:
    """Rows of an .npy, or of the ``x`` (``X``) of an .npz with labels in ``y`` and a ``condition`` where it has them.

    Raises:
        DataError: damaged, pickled, above a limit, or an .npz whose rows cannot be told from its other arrays.
    """
    size = check_regular(path).st_size
    if not (head := first_bytes(path, 16)).startswith((b"\x93NUMPY", b"PK")):
        refuse_other_kind(path, head, "numpy file")
    labels = condition = None
    unread: list[str] = []
    if path.suffix.lower() == ".npy":
        check_limit("bytes of a mapped .npy", size, path)
        x = as_rows(mapped_array(path), str(path))
    else:
        x, labels, condition, unread = _read_npz(path, label_key)
    check_limit("rows", len(x), path)
    notes = [f"each is {list(x.shape[1:])} {x.dtype}"]
    if unread:
        notes.append(f"the file also holds {some(unread)}")
    report = ReadReport(printable(path), "array", len(x), notes=tuple(notes))
    ids = RowNumbers(range(len(x)))
    return Dataset(x, "features" if x.ndim == 2 else "any", (), ids, labels, condition, report)


def _read_npz(
    path: Path, label_key: str | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[Any] | None, list[str]]:
    """Rows, labels, conditions, and the names of the arrays that are none of them."""
    with open_npz(path) as arrays:
        name = key_of(path, arrays, ("x", "X"))
        x, labels, condition = as_rows(array_of(path, arrays, name), str(path)), None, None
        if "condition" in arrays.files:
            condition = as_condition(array_of(path, arrays, "condition"), len(x), f"{path} [condition]")
        label_key = label_key or ("y" if "y" in arrays.files else None)
        if label_key is not None:
            labels = as_labels(array_of(path, arrays, label_key), len(x), f"{path} [{label_key}]")
        return x, labels, condition, [key for key in arrays.files if key not in (name, label_key, "condition")]
