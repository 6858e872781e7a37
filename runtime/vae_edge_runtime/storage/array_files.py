"""NumPy files of strangers: .npy mapped, .npz within a limit, pickles refused, one error for whatever is wrong."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

MAX_BYTES = 1 << 32
"""That the arrays of an .npz may unpack to."""
_MAGIC, _ZIP = b"\x93NUMPY", b"PK"
_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, SyntaxError,
            tokenize.TokenError, TypeError, KeyError, AttributeError, OverflowError, struct.error)  # fmt: skip
"""What numpy and zipfile let through for damaged, encrypted or absurdly large files; NotImplementedError is one."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Any error of numpy or zipfile becomes one that names the file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a file of Python 2 is read as well as any other
            yield
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read as a numpy file: {error}") from error


def mapped_array(path: Path) -> NDArray[Any]:
    """The array of an .npy file; its pages are read where they are used.

    Raises:
        DataError: it is no regular file, damaged, pickled, an .npz, or holds more than one array.
    """
    with reading(path):
        size = _check_regular(path)
        # open_memmap, not load: load would take a zip or a pickle by its first bytes.
        array = np.lib.format.open_memmap(path, mode="r")
        if (more := size - array.offset - array.nbytes) > 0:  # numpy itself passes over them
            raise DataError(
                f"{path} holds {more:,} bytes behind its array, as where np.save wrote to one file several times: join "
                "the arrays with np.concatenate, and save one"
            )
        return array


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    """The arrays of an .npz by their names; errors that come while they are read are translated, too.

    Raises:
        DataError: it is no regular file, damaged, pickled, encrypted, unpacks to more than ``MAX_BYTES``, or
            two arrays have one name.
    """
    with reading(path):
        _check_regular(path)
        # Opened here, as numpy leaves its own file open when the archive is damaged.
        with path.open("rb") as file:
            # A zip may have anything before its first member; an .npz of numpy has not.
            if file.read(len(_ZIP)) != _ZIP:
                raise DataError(f"{path} cannot be read as a numpy file: it begins as none does")
            file.seek(0)
            with np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
                _check_members(path, arrays.zip.infolist())
                yield arrays


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse what would unpack to more than is held in memory, by the sizes that the archive states, and doubles."""
    if (size := sum(member.file_size for member in members)) > MAX_BYTES:
        raise DataError(
            f"{path} has {size:,} bytes of numbers in memory, more than the {MAX_BYTES:,} that are read: split the "
            "file, or save it as a .npy, which is mapped"
        )
    names = {member.filename.removesuffix(".npy") for member in members}
    if len(names) < len(members):
        raise DataError(f"{path} holds two arrays of one name: save it again with one of each")
    if any(member.flag_bits & 1 for member in members):
        raise DataError(f"{path} is encrypted: save the arrays without a password")


def is_npy(path: Path) -> bool:
    """Whether a regular file begins as an .npy does, whatever its name is.

    Raises:
        DataError: it cannot be read.
    """
    with reading(path):
        _check_regular(path)
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC


def key_of(path: Path, arrays: Any, names: Sequence[str]) -> str:
    """The first of these names that the archive has, or that of its only array.

    Raises:
        DataError: it has none of them and not exactly one array.
    """
    keys = [name for name in names if name in arrays.files] or arrays.files
    if not keys or (len(keys) > 1 and keys[0] not in names):
        raise DataError(f"{path} holds {', '.join(arrays.files) or 'nothing'}: name the rows {names[0]!r}")
    return str(keys[0])


def array_of(path: Path, arrays: Any, name: str) -> NDArray[Any]:
    """An array of an archive; numpy gives a member that is no array as bytes.

    Raises:
        DataError: it has no such member, or that is no array.
    """
    if name not in arrays.files:
        raise DataError(f"{path} has no array {name!r}; it holds {', '.join(arrays.files) or 'nothing'}")
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} [{name}] is no numpy array")
    return array


def _check_regular(path: Path) -> int:
    """The size in bytes; a pipe or a device would block, or never end."""
    found = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is no regular file: name one")
    return found.st_size
