"""Integer entropy coding (rANS) in numpy alone: interleaved lanes for blocks, one interval for a single row.

A symbol is (start, freq, bits): the share freq / 2**bits of the code space, from start on, with bits <= 16. The state
of a lane lies in [2**16, 2**32) and words have 16 bits. All of it is integer arithmetic, so every machine gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompressedCorrupt

PRECISION = 14
TOTAL = 1 << PRECISION
"""Of the frequencies of one table."""
_LOW = 1 << 16
_WIDEST, _NARROW = 1 << 64, 1 << 32
"""Of the interval of a row."""
_LONG = 7
"""Stands for a bit length of which 6 bits follow."""

U32 = NDArray[np.uint32]


def encode_lanes(start: U32, freq: U32, bits: U32) -> bytes:
    """Symbols (steps, lanes) to bytes: the lanes' states, then the words in the order in which they are read back.

    A symbol of bits 0 (start 0, freq 1) costs nothing and changes nothing: padding.
    """
    steps, lanes = start.shape
    x = np.full(lanes, _LOW, np.uint32)
    limit = freq.astype(np.uint64) << (np.uint64(32) - bits)
    limit = (limit - np.uint64(1)).astype(np.uint32)
    above = (np.uint32(1) << bits) - freq
    full, low = np.empty((steps, lanes), np.bool_), np.empty((steps, lanes), np.uint16)
    shift, quotient = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
    for step in range(steps - 1, -1, -1):
        np.greater(x, limit[step], out=full[step])
        low[step] = x  # the low 16 bits; kept where the state is full
        np.multiply(full[step], np.uint32(16), out=shift)
        np.right_shift(x, shift, out=x)
        np.floor_divide(x, freq[step], out=quotient)
        np.multiply(quotient, above[step], out=quotient)
        np.add(x, quotient, out=x)
        np.add(x, start[step], out=x)
    return x.astype("<u4").tobytes() + low[full].astype("<u2").tobytes()


class LaneDecoder:
    """Reads what ``encode_lanes`` wrote: ``slots`` shows where each lane is, ``advance`` takes the symbols there."""

    def __init__(self, data: bytes, lanes: int) -> None:
        if lanes < 1 or len(data) < 4 * lanes or len(data) % 2:
            raise CompressedCorrupt("a stream is shorter than its lanes")
        self._x = np.frombuffer(data, "<u4", lanes).astype(np.uint32)
        self._words = np.frombuffer(data, "<u2", offset=4 * lanes).astype(np.uint32)
        self._at = 0

    def slots(self, bits: U32) -> U32:
        """The place in [0, 2**bits) of each of the first lanes; the others have no row and stay as they are."""
        slots: U32 = self._x[: len(bits)] & ((np.uint32(1) << bits) - np.uint32(1))
        return slots

    def advance(self, offset: U32, freq: U32, bits: U32) -> None:
        """Take a symbol of each of the first lanes; ``offset`` is its slot less its start."""
        x = freq * (self._x[: len(bits)] >> bits) + offset
        low = np.flatnonzero(x < _LOW)
        if len(low):
            words = self._words[self._at : self._at + len(low)]
            if len(words) < len(low):
                raise CompressedCorrupt("a stream ends before its symbols do")
            x[low] = (x[low] << np.uint32(16)) | words
            self._at += len(low)
        self._x[: len(x)] = x

    def finish(self) -> None:
        """Refuse a stream that does not end where its symbols do."""
        if self._at != len(self._words) or bool((self._x != _LOW).any()):
            raise CompressedCorrupt("a stream does not end where its symbols do")


def encode_row(symbols: Iterable[tuple[int, int, int]]) -> bytes:
    """The symbols of one row as the shortest whole bytes inside their interval: an arithmetic coder.

    rANS would lose a byte here: its state begins with all bits of the first symbol's start.
    """
    low, width, moved = 0, _WIDEST, 0
    for c, f, p in symbols:
        share = width >> p
        low += c * share
        width = f * share
        if width < _NARROW:
            low, width, moved = low << 32, width << 32, moved + 32
    scale = 64 + moved
    size = max(0, (scale - width.bit_length()) // 8)
    while True:  # the first size at which a whole number of so many bytes lies inside
        beyond = max(scale - 8 * size, 0)
        value = -(-low >> beyond)
        if value << beyond < low + width:
            return value.to_bytes(size, "big")
        size += 1


class RowDecoder:
    """Reads what ``encode_row`` wrote, symbol by symbol; after the last byte it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._width = data, 8, _WIDEST
        self._code = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def slot(self, bits: int) -> int:
        """The place in [0, 2**bits)."""
        return min(self._code // (self._width >> bits), (1 << bits) - 1)

    def advance(self, start: int, freq: int, bits: int) -> None:
        """Take one symbol."""
        share = self._width >> bits
        self._code -= start * share
        self._width = freq * share
        if self._width < _NARROW:
            word = self._data[self._at : self._at + 4].ljust(4, b"\0")
            self._code = self._code << 32 | int.from_bytes(word, "big")
            self._width <<= 32
            self._at += 4

    def whole(self, bits: int) -> int:
        """A whole number of ``bits`` bits, sent as it is."""
        value = 0
        for shift in range(0, bits, 16):
            width = min(16, bits - shift)
            part = self.slot(width)
            value |= part << shift
            self.advance(part, 1, width)
        return value

    def number(self) -> int:
        """A number with a sign, of ``number_symbols``."""
        width = self.whole(3)
        if width == _LONG:
            width = self.whole(6)
        return unzigzag((1 << width - 1) + self.whole(width - 1)) if width else 0


def number_symbols(folded: int) -> list[tuple[int, int, int]]:
    """A number that ``zigzag`` gave, as symbols of a row: its bit length, then its bits below the highest."""
    width = folded.bit_length()
    symbols = [(width, 1, 3)] if width < _LONG else [(_LONG, 1, 3), (width, 1, 6)]
    for shift in range(0, width - 1, 16):
        bits = min(16, width - 1 - shift)
        symbols.append((folded >> shift & (1 << bits) - 1, 1, bits))
    return symbols


def integer_frequencies(weights: NDArray[Any]) -> NDArray[np.int64]:
    """Weights (tables, symbols), each row with a positive sum, to whole numbers >= 1 that add up to TOTAL per row."""
    share = np.asarray(weights, np.float64)
    share = share / share.sum(axis=1, keepdims=True)
    freq: NDArray[np.int64] = np.maximum(1, np.floor(share * TOTAL)).astype(np.int64)
    for row, exact in zip(freq, share * TOTAL, strict=True):
        while gap := TOTAL - int(row.sum()):
            # What rounding left goes to the symbols that lost most; what the floor of 1 took comes off the largest.
            i = int(np.argmax(exact - row)) if gap > 0 else int(np.argmax(row))
            row[i] += min(gap, 16) if gap > 0 else -min(-gap, int(row[i]) - 1, max(1, int(row[i]) // 4))
    return freq


def zigzag(values: NDArray[np.int64]) -> list[int]:
    """Whole numbers with a sign to whole numbers from 0: 0, -1, 1, -2, … become 0, 1, 2, 3, …"""
    folded: list[int] = ((values << 1) ^ (values >> 63)).tolist()
    return folded


def unzigzag(value: int) -> int:
    """One number back."""
    return (value >> 1) ^ -(value & 1)


def varints(values: NDArray[np.int64]) -> bytes:
    """Whole numbers with a sign, 7 bits a byte, the low ones first."""
    out = bytearray()
    for rest in zigzag(values):
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def read_varints(data: bytes) -> list[int]:
    """All numbers of ``varints``.

    Raises:
        CompressedCorrupt: the last number is cut, or one needs more than 63 bits.
    """
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(unzigzag(value))
            value = shift = 0
        elif shift > 56:
            raise CompressedCorrupt("a number in the data has more than 63 bits")
    if shift:
        raise CompressedCorrupt("a number in the data is cut")
    return values
