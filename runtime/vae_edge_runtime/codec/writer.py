"""Rows to a file of compressed rows: blocks that are appended, and the end mark."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, PairMismatch, StorageError
from ..format.specs import element_count
from ..scoring.inputs import check_condition, check_rows
from .container import BLOCK, BLOCK_MAGIC, END, END_MAGIC, MAX_BLOCK_ELEMENTS, Frames, header_bytes, open_frames
from .rows import RowCodec, Wish


class Writer:
    """Appends rows to a file of compressed rows, block by block, in bounded memory; ``VAE.compress_file`` makes it.

    A reader may follow the file: each block is whole as soon as it lies there.

    Attributes:
        rows: written so far, without those that wait for a whole block. held: those that wait. size_bytes: of the file.
        dropped_bytes: of a block that an earlier process did not finish.
    """

    def __init__(
        self, file: BinaryIO, codec: RowCodec, wish: Wish, *, block_rows: int | None, frames: Frames | None
    ) -> None:
        elements = element_count(codec.manifest.input.shape)
        self._file, self.codec, self._wish = file, codec, wish
        self.block_rows = block_rows or default_block_rows(elements)
        self._waiting: list[tuple[NDArray[Any], NDArray[Any] | None]] = []
        self.held = 0
        self._closed = False
        if frames is None:
            self.rows = self._blocks = self.dropped_bytes = 0
            self._append(header_bytes(codec.identity))
        else:
            self.rows, self._blocks, self.dropped_bytes = frames.rows, frames.blocks, frames.torn_bytes
            file.seek(frames.end)
            file.truncate()
        self.size_bytes = file.tell()

    def write(self, x: NDArray[Any], *, condition: NDArray[Any] | None = None) -> None:
        """Take rows (n, *row_shape) and, of a conditional model, the condition of each.

        Raises:
            InputError: they do not fit the model, and none of them was taken. StorageError: the disk refused; the
                file ends at a whole block.
        """
        spec, beside = self.codec.manifest.input, self.codec.manifest.condition
        # All rows of one array have its shape and type: no page of the others is touched.
        check_rows(x[:1] if isinstance(x, np.ndarray) and x.ndim else x, shape=spec.shape, dtype=spec.dtype)
        conditions = check_condition(condition, beside, len(x)).get("condition")
        for first in range(0, len(x), self.block_rows):
            part = slice(first, first + self.block_rows)
            piece = x[part].copy()
            self._waiting.append((piece, None if conditions is None else conditions[part].copy()))
            self.held += len(piece)
            while self.held >= self.block_rows:
                self._write_block(self.block_rows)

    def flush(self) -> None:
        """Write the rows that wait as a block of their own: a small one takes more bytes a row."""
        while self.held:
            self._write_block(min(self.held, self.block_rows))

    def sync(self) -> None:
        """Put what lies in the file on the disk.

        Raises:
            StorageError: the disk refused.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"compressed rows could not be written ({error.strerror})") from error

    def abandon(self) -> None:
        """Close the file as it is: without what waits, and without the end mark."""
        self._closed = True
        self._file.close()

    def close(self) -> None:
        """Write what waits and the end mark, and close the file; twice is no error."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
            mark = END.pack(END_MAGIC, self.rows, self._blocks)
            self._append(mark + struct.pack("<I", zlib.crc32(mark)))
        finally:
            self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:  # no end mark: the rows that were to follow are not there
            self.abandon()

    def _write_block(self, rows: int) -> None:
        x = np.concatenate([piece for piece, _ in self._waiting]) if len(self._waiting) > 1 else self._waiting[0][0]
        given = [condition for _, condition in self._waiting if condition is not None]
        condition = np.concatenate(given) if given else None
        self._waiting = [(x[rows:], None if condition is None else condition[rows:])] if len(x) > rows else []
        self.held = len(x) - rows
        body = self.codec.block(x[:rows], None if condition is None else condition[:rows], self._wish)
        head = BLOCK.pack(BLOCK_MAGIC, rows, len(body), zlib.crc32(body))
        self._append(head + struct.pack("<I", zlib.crc32(head)) + body)
        self.rows, self._blocks = self.rows + rows, self._blocks + 1

    def _append(self, data: bytes) -> None:
        before = self._file.tell()
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # a reader drops the torn block
                self._file.truncate(before)
            raise StorageError(f"compressed rows could not be written ({error.strerror}): free space") from error
        self.size_bytes = self._file.tell()


def default_block_rows(elements: int) -> int:
    """Rows of a block: some million values, so that lanes cost little and a block fits in memory."""
    return max(1, min(4096, max(16, (1 << 20) // elements), MAX_BLOCK_ELEMENTS // elements))


def to_append(path: str | os.PathLike[str], codec: RowCodec) -> tuple[BinaryIO, Frames | None]:
    """A file to go on with: its whole blocks were counted; a torn one and the end mark will be written over.

    Of a process that ended at once not even the header is whole: None instead of blocks.

    Raises:
        PairMismatch: it belongs to another bundle, or to another calibration. As ``open_frames``.
    """
    header, target = header_bytes(codec.identity), Path(path)
    try:
        if target.stat().st_size < len(header) and header.startswith(target.read_bytes()):
            return target.open("w+b"), None
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error
    file, frames = open_frames(path, "r+b")
    try:
        if frames.identity != codec.identity:
            raise PairMismatch(f"{path} was begun with another bundle, variant or calibration: name a new file")
        for _ in frames:
            pass
    except BaseException:
        file.close()
        raise
    return file, frames


def in_memory(codec: RowCodec, wish: Wish, x: NDArray[Any], condition: Any) -> bytes:
    """A whole file of these rows."""
    spec = codec.manifest.input
    x = check_rows(x, shape=spec.shape, dtype=spec.dtype)
    conditions = check_condition(condition, codec.manifest.condition, len(x)).get("condition")
    file = _Kept()
    with Writer(file, codec, wish, block_rows=None, frames=None) as writer:
        writer.write(x, condition=conditions)
    return file.data


def compress_rows(vae: Any, path: Path, x: NDArray[Any], condition: Any, **how: Any) -> int:
    """Rows to an empty file, a block at a time: of an array that is mapped no more is in memory.

    Args:
        vae: compresses. path: of the file, which holds nothing yet.
        x: (n, *row_shape). condition: of each, where the model takes any.
        how: options of ``VAE.compress_file``.

    Returns:
        Bytes of the file.

    Raises:
        InputError: rows or conditions do not fit the model. Others: as ``VAE.compress_file``.
    """
    spec, beside = vae.manifest.input, vae.manifest.condition
    check_rows(np.broadcast_to(np.zeros((), x.dtype), x.shape), shape=spec.shape, dtype=spec.dtype)
    conditions = check_condition(condition, beside, len(x)).get("condition")
    with vae.compress_file(path, append=True, **how) as writer:
        for start in range(0, len(x), writer.block_rows):
            part = slice(start, start + writer.block_rows)
            rows = np.ascontiguousarray(x[part])
            writer.write(rows, condition=None if conditions is None else conditions[part])
    return int(writer.size_bytes)


class _Kept(io.BytesIO):
    """Bytes that outlast the closing of the file that holds them."""

    data = b""

    def close(self) -> None:
        if not self.closed:
            self.data = self.getvalue()
        super().close()
