"""Whether a PNG holds all its pixels: Pillow fills in zeros where its stream ends early but properly."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SIGNATURE = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced picture: first column and row, and the step of each."""
_BYTES_AT_ONCE = 1 << 20


def is_complete(file: Path) -> bool:
    """Whether the compressed stream gives as many bytes as the header promises.

    Args:
        file: a PNG whose header Pillow has read.

    Raises:
        OSError, ValueError, struct.error, zlib.error: it is damaged.
    """
    with file.open("rb") as stream:
        stream.seek(_SIGNATURE)
        chunks = _chunks(stream)
        width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", next(chunks)[1])
        pixel_bits = bits * _CHANNELS[colour]
        passes = _PASSES if interlaced else ((0, 0, 1, 1),)
        wanted = 0
        for left, top, across, down in passes:
            columns, rows = -(-(width - left) // across), -(-(height - top) // down)
            if columns > 0 and rows > 0:
                wanted += rows * (1 + -(-columns * pixel_bits // 8))
        unpacker = zlib.decompressobj()
        have = 0
        for kind, data in chunks:
            while kind == b"IDAT" and data and have < wanted:
                have += len(unpacker.decompress(data, _BYTES_AT_ONCE))
                data = unpacker.unconsumed_tail
            if have >= wanted:
                return True
    return False


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, stream.read(length)
        stream.seek(4, 1)
