"""NumPy files; .npy is memory-mapped, pickles are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from vae_edge_runtime.errors import DataError

from .dataset import Dataset, as_labels, as_rows


def read_arrays(path: Path, label_key: str | None) -> Dataset:
    """Rows of an .npy, or of the ``x`` (``X``) of an .npz with labels in ``y`` where it has them.

    Raises:
        DataError: damaged, pickled, or an .npz whose rows cannot be told from its other arrays.
    """
    labels = None
    try:
        if path.suffix.lower() == ".npy":
            x = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with np.load(path, allow_pickle=False) as file:
                keys = [key for key in ("x", "X") if key in file.files] or (file.files if len(file.files) == 1 else [])
                if not keys:
                    raise DataError(f"{path} holds {', '.join(file.files)}: name the rows 'x'")
                x = file[keys[0]]
                label_key = label_key or ("y" if "y" in file.files else None)
                if label_key is not None:
                    if label_key not in file.files:
                        raise DataError(f"{path} has no array {label_key!r}; it holds {', '.join(file.files)}")
                    labels = as_labels(file[label_key], len(x), f"{path} [{label_key}]")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as a numpy file: {error}") from error
    x = as_rows(x, str(path))
    return Dataset(x, "features" if x.ndim == 2 else "any", (), tuple(map(str, range(len(x)))), labels)
