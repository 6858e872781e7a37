"""NumPy files; .npy is memory-mapped, pickles are refused."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError

from .dataset import Dataset, as_condition, as_labels, as_rows

_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, SyntaxError,
            tokenize.TokenError)  # fmt: skip
"""What numpy and zipfile let through for damaged, encrypted or absurdly large files."""


def read_arrays(path: Path, label_key: str | None) -> Dataset:
    """Rows of an .npy, or of the ``x`` (``X``) of an .npz with labels in ``y`` and a ``condition`` where it has them.

    Raises:
        DataError: damaged, pickled, or an .npz whose rows cannot be told from its other arrays.
    """
    labels = condition = None
    try:
        if path.suffix.lower() == ".npy":
            # open_memmap, not load: load would take a zip or a pickle by its first bytes.
            x = as_rows(np.lib.format.open_memmap(path, mode="r"), str(path))
        else:
            x, labels, condition = _read_npz(path, label_key)
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read as a numpy file: {error}") from error
    return Dataset(x, "features" if x.ndim == 2 else "any", (), tuple(map(str, range(len(x)))), labels, condition)


def _read_npz(path: Path, label_key: str | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[Any] | None]:
    # Opened here, as numpy leaves its own file open when the archive is damaged.
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
        keys = [key for key in ("x", "X") if key in arrays.files] or arrays.files
        if not keys or (len(keys) > 1 and keys[0] not in ("x", "X")):
            raise DataError(f"{path} holds {', '.join(arrays.files) or 'nothing'}: name the rows 'x'")
        x = as_rows(arrays[keys[0]], f"{path} [{keys[0]}]")
        condition = None
        if "condition" in arrays.files:
            condition = as_condition(arrays["condition"], len(x), f"{path} [condition]")
        label_key = label_key or ("y" if "y" in arrays.files else None)
        if label_key is None:
            return x, None, condition
        if label_key not in arrays.files:
            raise DataError(f"{path} has no array {label_key!r}; it holds {', '.join(arrays.files)}")
        return x, as_labels(arrays[label_key], len(x), f"{path} [{label_key}]"), condition
