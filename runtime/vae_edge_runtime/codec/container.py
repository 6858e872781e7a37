"""The container ``.vaez``: a header, blocks that are only ever appended, and an end mark once it is closed."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..arguments import path_text
from ..errors import CompressedCorrupt, CompressedCut, CompressedTooNew, DataError
from ..format.specs import element_count
from ..text import counted
from .identity import VERSION, Identity
from .parts import RAW, Decompressed, concatenated, read_runs, split
from .rows import RowCodec

MAGIC = b"VAEZ"
_FIXED = struct.Struct("<4sBBH16s8s8s8sdd")
BLOCK = struct.Struct("<4sIII")
END = struct.Struct("<4sQI")
BLOCK_MAGIC, END_MAGIC = b"VZB\1", b"VZE\1"
_HEAD_BYTES = 20
MAX_BLOCK_ROWS, MAX_BLOCK_ELEMENTS, MAX_BODY_BYTES = 1 << 16, 1 << 26, 1 << 30
"""Of one block: what a reader holds in memory at once."""


def header_bytes(identity: Identity) -> bytes:
    """The first bytes of a file."""
    name = identity.variant.encode()
    size = _FIXED.size + len(name) + 4
    fixed = _FIXED.pack(
        MAGIC, VERSION, len(name), size, identity.pair, identity.decode, identity.tables, identity.calibration,
        identity.middle, identity.step,
    )  # fmt: skip
    return fixed + name + struct.pack("<I", zlib.crc32(fixed + name))


def read_header(file: BinaryIO) -> Identity:
    """What a file belongs to; ``file`` stands at its first block afterwards.

    Raises:
        CompressedCorrupt, CompressedCut, CompressedTooNew: it does not begin like a file of this version.
    """
    fixed = file.read(_FIXED.size)
    if fixed[:4] != MAGIC[: len(fixed)] or not fixed:
        raise CompressedCorrupt("this is no file of compressed rows: it does not begin with VAEZ")
    if len(fixed) > 4 and fixed[4] > VERSION:
        raise CompressedTooNew(f"compressed rows of version {fixed[4]}, this runtime reads {VERSION}: update vae-edge")
    if len(fixed) < _FIXED.size:
        raise CompressedCut("the data ends inside its header: copy it again")
    _, version, length, size, pair, decode, tables, calibration, middle, step = _FIXED.unpack(fixed)
    rest = file.read(length + 4)
    if len(rest) < length + 4:
        raise CompressedCut("the data ends inside its header: copy it again")
    good = zlib.crc32(fixed + rest[:length]) == struct.unpack("<I", rest[length:])[0]
    if not good or version != VERSION or size != _FIXED.size + length + 4:
        raise CompressedCorrupt("the header is damaged: copy the file again")
    return Identity(pair, decode, tables, calibration, middle, step, rest[:length].decode("ascii", "replace"))


class Frame(NamedTuple):
    """One block of a file: so many rows, and its body; of the end mark all rows, and None."""

    rows: int
    body: bytes | None


class Frames:
    """Blocks of an open file, one after the other; nothing of them is decoded.

    Attributes:
        complete: the end mark was met. torn_bytes: after the last whole block, of one that was cut.
        rows, blocks: so far. end: where the last whole block ended.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.identity = read_header(file)
        self._file, self.complete, self.torn_bytes = file, False, 0
        self.rows = self.blocks = 0
        self.end = file.tell()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._read()) is not None:
            yield frame

    def _read(self) -> Frame | None:
        try:
            return self._next()
        except OSError as error:  # a disk that fails, a share that is gone
            raise DataError(f"after {counted(self.rows, 'row')} the file cannot be read: {error.strerror}") from error

    def _next(self) -> Frame | None:
        head = self._file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            self.torn_bytes = len(head)
            return None
        if zlib.crc32(head[:16]) != struct.unpack_from("<I", head, 16)[0]:
            tail = head + self._file.read(1 << 20)
            if not any(tail) and len(tail) < 1 << 20:  # a file system that lost power left zeros
                self.torn_bytes = len(tail)
                return None
            raise self._corrupt("its head is damaged")
        if head[:4] == END_MAGIC:
            _, rows, blocks = END.unpack_from(head)
            if (rows, blocks) != (self.rows, self.blocks) or self._file.read(1):
                raise self._corrupt("the end mark counts other rows, or bytes follow it")
            self.complete = True
            return None
        magic, rows, size, crc = BLOCK.unpack_from(head)
        if magic != BLOCK_MAGIC or not 0 < rows <= MAX_BLOCK_ROWS or size > MAX_BODY_BYTES:
            raise self._corrupt("its head is none of this version")
        body = self._file.read(size)
        if len(body) < size:
            self.torn_bytes = _HEAD_BYTES + len(body)
            return None
        if zlib.crc32(body) != crc:
            raise self._corrupt("its bytes were changed")
        self.rows, self.blocks, self.end = self.rows + rows, self.blocks + 1, self._file.tell()
        return Frame(rows, body)

    def cut(self) -> CompressedCut:
        """The error of a file without its end mark."""
        return CompressedCut(
            f"the data has no end mark: it is still being written, or its end was lost ({self.torn_bytes} bytes of a "
            f"torn block); {counted(self.rows, 'row')} before can be read with allow_torn=True",
            rows=self.rows,
        )

    def _corrupt(self, problem: str) -> CompressedCorrupt:
        return CompressedCorrupt(
            f"block {self.blocks + 1} (after {counted(self.rows, 'row')}): {problem}; copy the file again"
        )


class Reader:
    """Compressed rows of a file, block by block, in bounded memory; ``VAE.decompress_file`` makes it.

    Attributes:
        frames: what was met so far, and whether the end mark was.
    """

    def __init__(self, file: BinaryIO, codec: RowCodec, frames: Frames, *, allow_torn: bool) -> None:
        self._file, self.codec, self.frames, self._allow_torn = file, codec, frames, allow_torn

    def __iter__(self) -> Iterator[Decompressed]:
        """Rows of one block after the other.

        Raises:
            CompressedCorrupt: a block is damaged. CompressedCut: there is no end mark, and ``allow_torn`` is False.
            DecoderMismatch: the engine here decodes other values than the sender's.
        """
        elements = element_count(self.codec.manifest.input.shape)
        for rows, body in self.frames:
            if body is None or rows * elements > max(MAX_BLOCK_ELEMENTS, elements):
                raise CompressedCorrupt(
                    f"a block of {counted(rows, 'row')} of {elements} elements is larger than any is made"
                )
            yield self.codec.read_block(body, rows)
        if not self.frames.complete and not self._allow_torn:
            raise self.frames.cut()

    def all_rows(self) -> Decompressed:
        """Every row of the file at once.

        Raises:
            CompressedCorrupt, CompressedCut, DecoderMismatch: as the iterator.
        """
        return concatenated([self.codec.nothing(), *self])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def described(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says of itself, as plain values for JSON; no bundle and no engine are needed.

    Raises:
        DataError, CompressedCorrupt, CompressedCut, CompressedTooNew: the file is not accepted.
    """
    file, frames = open_frames(path)
    counts: dict[int, int] = {}
    with file:
        for rows, body in frames:
            modes, each = np.unique(read_runs(split(body or b"")[0], rows, RAW), return_counts=True)
            for mode, count in zip(modes.tolist(), each.tolist(), strict=True):
                counts[mode] = counts.get(mode, 0) + count
        size = file.seek(0, os.SEEK_END)
    identity = frames.identity
    return {
        "pair_id": identity.pair.hex(), "decode": identity.decode.hex(), "tables": identity.tables.hex(),
        "variant": identity.variant, "size_bytes": size, "rows": frames.rows, "blocks": frames.blocks,
        "complete": frames.complete, "torn_bytes": frames.torn_bytes,
        "rows_by_mode": {"raw" if mode == RAW else str(mode): counts[mode] for mode in sorted(counts)},
    }  # fmt: skip


def open_frames(path: str | os.PathLike[str], mode: str = "rb") -> tuple[BinaryIO, Frames]:
    """A file, and its blocks.

    Raises:
        DataError: the system does not open it.
        CompressedCorrupt, CompressedCut, CompressedTooNew: as ``read_header``.
    """
    name = path_text("path", path)
    try:
        is_regular = stat.S_ISREG(os.stat(name).st_mode)  # noqa: PTH116  a pipe would block, and be read once alone
        file: Any = open(name, mode) if is_regular else None  # noqa: PTH123, SIM115  the caller closes it
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if file is None:
        raise DataError(f"{path} is no regular file: name a .vaez file")
    try:
        return file, Frames(file)
    except OSError as error:
        file.close()
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except BaseException:
        file.close()
        raise


def from_bytes(data: bytes) -> tuple[BinaryIO, Frames]:
    """The same of bytes in memory."""
    file = io.BytesIO(data)
    return file, Frames(file)
