"""NumPy files; .npy is memory-mapped, pickles are refused."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError

from .dataset import Dataset, as_condition, as_labels, as_rows
from .files import check_regular, first_bytes, refuse_other_kind
from .limits import check_limit
from .report import ReadReport, printable

_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, SyntaxError,
            tokenize.TokenError, TypeError, KeyError, AttributeError, OverflowError, struct.error)  # fmt: skip
"""What numpy and zipfile let through for damaged, encrypted or absurdly large files."""


def read_arrays(path: Path, label_key: str | None) -> Dataset:
    """Rows of an .npy, or of the ``x`` (``X``) of an .npz with labels in ``y`` and a ``condition`` where it has them.

    Raises:
        DataError: damaged, pickled, above a limit, or an .npz whose rows cannot be told from its other arrays.
    """
    size = check_regular(path).st_size
    if not (head := first_bytes(path, 16)).startswith((b"\x93NUMPY", b"PK")):
        refuse_other_kind(path, head, "numpy file")
    labels = condition = None
    try:
        if path.suffix.lower() == ".npy":
            check_limit("bytes of a mapped .npy", size, path)
            # open_memmap, not load: load would take a zip or a pickle by its first bytes.
            x = as_rows(np.lib.format.open_memmap(path, mode="r"), str(path))
        else:
            x, labels, condition = _read_npz(path, label_key)
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read as a numpy file: {error}") from error
    check_limit("rows", len(x), path)
    report = ReadReport(printable(path), "array", len(x), notes=(f"each is {list(x.shape[1:])} {x.dtype}",))
    ids = tuple(map(str, range(len(x))))
    return Dataset(x, "features" if x.ndim == 2 else "any", (), ids, labels, condition, report)


def _read_npz(path: Path, label_key: str | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[Any] | None]:
    # Opened here, as numpy leaves its own file open when the archive is damaged.
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
        _check_sizes(path, arrays)
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


def _check_sizes(path: Path, arrays: Any) -> None:
    """Refuse what would unpack to more than is held in memory, by the sizes that the archive states."""
    members = arrays.zip.infolist()
    check_limit("bytes of numbers in memory", sum(member.file_size for member in members), path)
    if any(member.flag_bits & 1 for member in members):
        raise DataError(f"{path} is encrypted: save the arrays without a password")
