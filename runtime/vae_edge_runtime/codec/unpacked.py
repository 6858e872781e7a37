"""What comes out of a file of compressed rows into other files: a block at a time, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .container import Reader
from .parts import Decompressed


class Counted:
    """Blocks of a reader, counted as they pass.

    Attributes:
        rows: so far. kinds: rows of each kind, so far.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.rows, self.kinds = 0, dict[str, int]()

    def __iter__(self) -> Iterator[Decompressed]:
        for block in self._reader:
            self.rows += len(block)
            for kind, count in zip(*np.unique(block.kind, return_counts=True), strict=True):
                self.kinds[str(kind)] = self.kinds.get(str(kind), 0) + int(count)
            yield block

    @property
    def nothing(self) -> Decompressed:
        """No rows, of the dtypes and shapes of every block."""
        return self._reader.codec.nothing()


def write_array_file(path: Path, blocks: Counted, *, replace: bool) -> None:
    """The rows alone as .npy, or everything that was sent as .npz.

    Raises:
        CompressedCorrupt, CompressedCut, DecoderMismatch: from the reader.
        StorageError: the disk is full. OptionError: the file exists and ``replace`` is False.
    """
    from ..storage.growing import write_npy, write_npz

    if path.suffix.lower() == ".npy":
        write_npy(path, blocks.nothing.rows, (block.rows for block in blocks), replace=replace)
    else:
        write_npz(path, blocks.nothing.columns(), (block.columns() for block in blocks), replace=replace)
