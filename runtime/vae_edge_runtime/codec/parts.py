"""Rows that came back, and the byte strings that a block is made of."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompressedCorrupt
from ..format.specs import ELEMENT_SIZE_BYTES, element_count
from ..record import record
from .rans import read_varints, varints

RAW = 15
"""Instead of the index of a mode: rows as they are, deflated."""


@record(frozen=True, eq=False)
class Decompressed:
    """Rows that came back, in the order in which they were compressed.

    Attributes:
        rows: (n, *row_shape) of the model's dtype.
        kind: (n,) ``latents``, ``bounded``, ``exact`` or ``raw``, of each row.
        bound: (n,) the name of the bound that each row keeps; empty for other kinds.
        score: (n,) float32, as it was sent; NaN where none was sent.
        p_value: (n,) float64, of that score by the calibration of the bundle; NaN without a score, or where the bundle
            was calibrated anew.
        status: (n,) uint8, values of ``Status``, as the sender saw the row.
        condition: (n, *shape) of a conditional model, else None.
    """

    rows: NDArray[Any]
    kind: NDArray[np.str_]
    bound: NDArray[np.str_]
    score: NDArray[np.float32]
    p_value: NDArray[np.float64]
    status: NDArray[np.uint8]
    condition: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, the rows as ``x``; what the model does not have is left out."""
        named = {"x" if name == "rows" else name: array for name, array in vars(self).items()}
        return {name: array for name, array in named.items() if array is not None}


def concatenated(blocks: list[Decompressed]) -> Decompressed:
    """The rows of all blocks, of which there is at least one."""
    if len(blocks) == 1:
        return blocks[0]
    parts = [vars(block) for block in blocks]
    whole: dict[str, Any] = {
        name: None if first is None else np.concatenate([part[name] for part in parts])
        for name, first in parts[0].items()
    }
    return Decompressed(**whole)


def row_bytes(spec: Any) -> int:
    """Of one row or condition of this spec."""
    return element_count(spec.shape) * ELEMENT_SIZE_BYTES[spec.dtype]


def little(array: NDArray[Any]) -> bytes:
    """The elements, low byte first."""
    data: bytes = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return data


def array(data: bytes, dtype: str, shape: tuple[int, ...], n: int) -> NDArray[Any]:
    """(n, *shape) of ``little``."""
    kind = np.dtype(dtype)
    rows: NDArray[Any] = np.frombuffer(data, kind.newbyteorder("<")).astype(kind).reshape(n, *shape)
    return rows


def inflated(data: bytes, rows: int, row_bytes: int, *, exactly: bool = True) -> bytes:
    """Deflated bytes of so many rows, of ``row_bytes`` each or at most, and no more memory than they take."""
    try:
        plain = (reader := zlib.decompressobj()).decompress(data, rows * row_bytes + 1)
    except zlib.error as error:
        raise CompressedCorrupt(f"rows that are stored as they are cannot be inflated ({error})") from None
    fits = len(plain) == rows * row_bytes if exactly else len(plain) <= rows * row_bytes
    if not fits or not reader.eof or reader.unused_data:
        raise CompressedCorrupt("a block holds more or fewer bytes than its rows")
    return plain


def joined(parts: list[bytes]) -> bytes:
    """Each part after its length."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def split(body: bytes) -> list[bytes]:
    """The parts of ``joined``."""
    parts, at = [], 0
    while at < len(body):
        if at + 4 > len(body) or at + 4 + (size := struct.unpack_from("<I", body, at)[0]) > len(body):
            raise CompressedCorrupt("the parts of a block do not add up to its size")
        parts.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return parts


def runs(modes: NDArray[np.uint8]) -> bytes:
    """Runs of equal modes: a varint (length * 16 + mode) each."""
    starts = np.flatnonzero(np.diff(modes.astype(np.int64), prepend=-1))
    lengths = np.diff(starts, append=len(modes))
    return varints((lengths * 16 + modes[starts]).astype(np.int64))


def read_runs(data: bytes, n: int, modes: int) -> NDArray[np.uint8]:
    """The mode (n,) of each row, below ``modes`` or ``RAW``."""
    runs = np.array(read_varints(data), np.int64)
    lengths, index = runs >> 4, (runs & 15).astype(np.uint8)
    if (lengths < 1).any() or (lengths > n).any() or lengths.sum() != n or ((index >= modes) & (index != RAW)).any():
        raise CompressedCorrupt("the modes of a block's rows do not add up")
    return np.repeat(index, lengths)
