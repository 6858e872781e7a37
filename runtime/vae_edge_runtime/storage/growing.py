"""Arrays in .npy and .npz files whose rows come a block at a time: no more than a block is in memory."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from .files import staged

_MAGIC, _ALIGNMENT, _MOST_ROWS = b"\x93NUMPY\1\0", 64, 10**18
_COPIED_BYTES = 1 << 20

Blocks = Iterable[Mapping[str, NDArray[Any]]]


class _GrowingArray:
    """An .npy file; how many rows it has is written into its header last."""

    def __init__(self, file: BinaryIO, none: NDArray[Any]) -> None:
        """Begin with the dtype and the row shape of ``none``, which has no rows."""
        self.file, self._none, self._rows = file, none, 0
        file.write(self._header())

    def append(self, rows: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(rows, self._none.dtype).tobytes())
        self._rows += len(rows)

    def finish(self) -> None:
        self.file.seek(0)
        self.file.write(self._header())
        self.file.seek(0)

    def _header(self) -> bytes:
        """The same number of bytes for any number of rows."""
        shape, descr = self._none.shape[1:], np.lib.format.dtype_to_descr(self._none.dtype)

        def text(rows: int) -> bytes:
            return repr({"descr": descr, "fortran_order": False, "shape": (rows, *shape)}).encode("latin1")

        size = len(_MAGIC) + 2 + len(text(_MOST_ROWS)) + 1
        size += -size % _ALIGNMENT
        padded = text(self._rows).ljust(size - len(_MAGIC) - 3) + b"\n"
        return _MAGIC + len(padded).to_bytes(2, "little") + padded


def write_npy(path: Path, none: NDArray[Any], blocks: Iterable[NDArray[Any]], *, replace: bool) -> None:
    """One array, of the dtype and row shape of ``none``.

    Raises:
        StorageError: the disk is full. OptionError: the file exists and ``replace`` is False.
    """
    with staged(path, replace=replace) as new:
        array = _GrowingArray(new.file, none)
        for rows in blocks:
            array.append(rows)
        array.finish()


def write_npz(path: Path, none: Mapping[str, NDArray[Any]], blocks: Blocks, *, replace: bool) -> None:
    """Arrays by name, each in a file without a name beside ``path`` until the last block has come.

    Raises:
        StorageError: the disk is full. OptionError: the file exists and ``replace`` is False.
    """
    with ExitStack() as stack, staged(path, replace=replace) as new:
        arrays = {name: _GrowingArray(stack.enter_context(_scratch_file(path)), rows) for name, rows in none.items()}
        for block in blocks:
            for name, array in arrays.items():
                array.append(block[name])
        with zipfile.ZipFile(new.file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                array.finish()
                # Without a date of its own a member would make the file another one every time.
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    shutil.copyfileobj(array.file, member, _COPIED_BYTES)


def _scratch_file(path: Path) -> Any:
    try:
        return tempfile.TemporaryFile(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise StorageError(f"{path} could not be written ({error.strerror or error}): check the folder") from error
