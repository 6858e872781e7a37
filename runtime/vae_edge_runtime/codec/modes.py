"""Rows of one mode to bytes and back: in blocks of many rows, and one row alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CompressedCorrupt, DecoderMismatch
from ..format.figures import CompressionMode
from ..format.specs import element_count
from . import floats
from .contexts import FUSED, Counted, Source, Symbols, beyond_table, read_numbers, residual_symbols, rest_bits
from .rans import (
    PRECISION,
    TOTAL,
    LaneDecoder,
    RowDecoder,
    encode_lanes,
    number_symbols,
    read_varints,
    varints,
    zigzag,
)  # fmt: skip
from .tables import HALF, SYMBOLS, Tables

I64 = NDArray[np.int64]
Decode = Callable[[NDArray[Any], Any], NDArray[Any]]
"""(latents, condition) to rows: the fp32 decoder."""

_HEAD = struct.Struct("<HIIB")
BYTES_PER_LANE = 1000
"""A lane costs some 3 bytes: a thousandth of what it carries would be too few, and a hundredth too many."""
MAX_LANES = 4096


class Coded(NamedTuple):
    """Rows of one mode as whole numbers.

    Attributes:
        latents: (n, d), or None. numbers: (n, T, C), or None.
        x_hat: of the sender's decoder, or None. fits: (n,) which rows come back as promised.
    """

    latents: I64 | None
    numbers: I64 | None
    x_hat: NDArray[Any] | None
    fits: NDArray[np.bool_]

    def taken(self, which: Any) -> Coded:
        """Some of the rows."""
        k, numbers, x_hat, fits = (None if array is None else array[which] for array in self)
        assert fits is not None
        return Coded(k, numbers, x_hat, fits)


class ModeCodec:
    """One mode of a bundle, its tables ready for use."""

    def __init__(
        self, mode: CompressionMode, tables: Tables, margin: tuple[float, ...], *,
        row: tuple[tuple[int, ...], str], latent: tuple[int, ...], decode: Decode,
    ) -> None:  # fmt: skip
        """``row``: shape and dtype of a row; ``latent``: shape of a latent."""
        self.mode, self.tables, self._decode = mode, tables, decode
        (self._shape, self._dtype), self._latent = row, latent
        self._margin = np.asarray(margin, np.float64)
        self.dimensions = element_count(latent) if tables.latents else 0
        if (z := tables.latents) is not None:
            groups = len(z.step)
            self._groups = np.arange(self.dimensions) * groups // self.dimensions
            start = np.concatenate([[0], np.cumsum(z.count.astype(np.int64) + 1)])
            freq = [z.freq[a:b] for a, b in pairwise(start.tolist())]
            self._latent_tables = [(f, np.cumsum(f) - f) for f in freq]
        if (r := tables.residual) is not None:
            bound = np.asarray(mode.bound or 0.0, np.float64)
            own = 0.9 * self._margin if tables.latents and not r.gridded else 0.0
            self._limit = np.where(bound > 0, bound - own, 0.0)
            self._shipped = Counted(r, follow=False)
            self._doubled = rest_bits(r)

    # ---------------------------------------------------------------- to whole numbers, and back

    def coded(self, x: NDArray[Any], latents: NDArray[Any] | None, condition: Any) -> Coded:
        """Whole numbers of finite rows; ``latents``: (n, *latent_shape) of the encoder, where the mode has any."""
        k = x_hat = numbers = None
        fits = np.ones(len(x), np.bool_)
        if self.tables.latents is not None and latents is not None:
            flat = latents.reshape(len(x), -1)
            fits &= np.isfinite(flat).all(axis=1) if flat.dtype.kind == "f" else True
            k = floats.latent_symbols(np.where(fits[:, None], flat, 0), self.tables.latents, self._groups)
            x_hat = self._decoded(k, condition)
            if self.tables.residual is not None:
                fits &= floats.within_range(x_hat, self._margin)
        if self.tables.residual is not None:
            numbers, kept = floats.numbers_of(x, x_hat, self.tables.residual, self._limit)
            fits &= kept
        return Coded(k, numbers, x_hat, fits)

    def rows(self, latents: I64 | None, numbers: I64 | None, x_hat: NDArray[Any] | None) -> NDArray[Any]:
        """Rows (n, *row_shape) of whole numbers."""
        if numbers is None or self.tables.residual is None:
            assert x_hat is not None
            return floats.cast(x_hat, self._dtype)
        return floats.rows_of(numbers, x_hat, self.tables.residual, self._shape, self._dtype)

    def _decoded(self, k: I64, condition: Any) -> NDArray[Any]:
        assert self.tables.latents is not None
        z = floats.latent_values(k, self.tables.latents, self._groups)
        return self._decode(z.reshape(len(k), *self._latent), condition)

    # ---------------------------------------------------------------- many rows

    def block(self, coded: Coded) -> bytes:
        """Rows of ``coded``, all of which fit, as one stream."""
        symbols = self.columns(coded, follow=True)
        n = symbols.start.shape[1]
        lanes = int(min(max(1, n * self.mode.row_bytes // BYTES_PER_LANE), n, MAX_LANES))
        lanes = -(-n // -(-n // lanes))  # as few as give the same number of groups: less padding
        padding = ((0, 0), (0, -n % lanes))
        laid = (
            np.pad(a, padding, constant_values=idle).reshape(-1, lanes)
            for a, idle in zip(symbols[:3], (0, 1, 0), strict=True)
        )
        stream, further = encode_lanes(*laid), varints(symbols.escapes)
        checks = b"" if coded.x_hat is None else floats.check_values(coded.x_hat).astype("<f4").tobytes()
        head = _HEAD.pack(lanes, len(stream), len(further), len(checks))
        return head + stream + further + checks + struct.pack("<I", _crc(coded.latents, coded.numbers))

    def read_block(self, data: bytes, n: int, condition: Any) -> NDArray[Any]:
        """Rows (n, *row_shape) of ``block``.

        Raises:
            CompressedCorrupt: the bytes do not give whole numbers of the right CRC-32.
            DecoderMismatch: the decoder here gives other values than the sender's.
        """
        if len(data) < _HEAD.size:
            raise CompressedCorrupt("a block is shorter than its head")
        lanes, stream, further, checks = _HEAD.unpack_from(data)
        ends = np.cumsum([_HEAD.size, stream, further, checks, 4])
        if ends[-1] != len(data) or checks != (4 * floats.CHECKS if self.tables.latents else 0):
            raise CompressedCorrupt("the parts of a block do not add up to its size")
        parts = [data[a:b] for a, b in pairwise(ends.tolist())]
        source = _Block(self, LaneDecoder(parts[0], lanes), lanes, n, read_varints(parts[1]))
        latents, numbers = self._read(source, n)
        source.finish()
        if struct.pack("<I", _crc(latents, numbers)) != parts[3]:
            raise CompressedCorrupt("the whole numbers of a block have another CRC-32 than the sender's")
        x_hat = None if latents is None else self._decoded(latents, condition)
        if x_hat is not None:
            self._check_decoder(x_hat, np.frombuffer(parts[2], "<f4"))
        return self.rows(latents, numbers, x_hat)

    def _check_decoder(self, x_hat: NDArray[Any], sent: NDArray[np.float32]) -> None:
        here = floats.check_values(x_hat).astype(np.float64)
        allowed = floats.check_margins(x_hat.size, self._margin) + (x_hat.dtype.kind != "f")
        beyond = np.abs(here - sent) - allowed
        if not bool((beyond <= 0).all()):
            at = int(np.argmax(beyond))
            raise DecoderMismatch(
                f"this engine decodes {here[at]:.7g} where the sender decoded {sent[at]:.7g}, and {allowed[at]:.2g} is "
                "allowed: decompress on a device that computes in float32, such as cpu"
            )

    # ---------------------------------------------------------------- one row

    def packet(self, coded: Coded) -> list[tuple[int, int, int]]:
        """The symbols of the first row of ``coded``, for ``encode_row``."""
        columns = self.columns(coded, follow=False)
        symbols = list(zip(*(array[:, 0].tolist() for array in columns[:3]), strict=True))
        values = zigzag(columns.escapes)
        for place in np.flatnonzero(columns.escaped[:, 0]).tolist()[::-1]:
            symbols[place + 1 : place + 1] = number_symbols(values.pop())
        return symbols

    def read_packet(self, decoder: RowDecoder) -> NDArray[Any]:
        """The row (1, *row_shape) of ``packet``.

        Raises:
            CompressedCorrupt: the bytes are no row of this mode.
        """
        latents, numbers = self._read(_Packet(self, decoder), 1)
        return self.rows(latents, numbers, None if latents is None else self._decoded(latents, None))

    # ---------------------------------------------------------------- columns of symbols

    def columns(self, coded: Coded, *, follow: bool) -> Symbols:
        """Columns, latents first, then positions; what escaped lies in the order in which it is met."""
        parts = []
        if coded.latents is not None:
            parts.append(self._latent_symbols(coded.latents))
        if coded.numbers is not None and (tables := self.tables.residual) is not None:
            counted = Counted(tables, follow=True) if follow else self._shipped
            parts.append(residual_symbols(coded.numbers, tables, counted))
        return Symbols(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _latent_symbols(self, k: I64) -> Symbols:
        assert self.tables.latents is not None
        columns = [np.empty(k.T.shape, np.uint32) for _ in range(2)]
        escaped = np.empty(k.T.shape, np.bool_)
        for j, values in enumerate(k.T):
            group = self._groups[j]
            freq, start = self._latent_tables[group]
            index = values - int(self.tables.latents.low[group])
            last = len(freq) - 1
            escaped[j] = (index < 0) | (index >= last)
            index = np.where(escaped[j], last, index)
            columns[0][j], columns[1][j] = start[index], freq[index]
        return Symbols(columns[0], columns[1], np.full(k.T.shape, PRECISION, np.uint32), k.T[escaped], escaped)

    def _read(self, source: _Stream, n: int) -> tuple[I64 | None, I64 | None]:
        latents = numbers = None
        if self.tables.latents is not None:
            latents = np.empty((n, self.dimensions), np.int64)
            for j in range(self.dimensions):
                group = self._groups[j]
                freq, start = self._latent_tables[group]
                latents[:, j] = source.latents(freq, start, int(self.tables.latents.low[group]))
        if self.tables.residual is not None:
            numbers = read_numbers(source, n, self.tables.residual)
        return latents, numbers


class _Stream(Source):
    """Symbols of a block or a packet."""

    def latents(self, freq: I64, start: I64, low: int) -> I64:
        """(n,) whole numbers of one latent dimension."""
        raise NotImplementedError


class _Block(_Stream):
    def __init__(self, codec: ModeCodec, decoder: LaneDecoder, lanes: int, n: int, escapes: list[int]) -> None:
        self._decoder, self._n = decoder, n
        self._groups = [slice(first, min(first + lanes, n)) for first in range(0, n, lanes)]
        self._escapes, self._taken = np.array(escapes, np.int64), 0
        if codec.tables.residual is not None:
            self._doubled, self._counted = codec._doubled, Counted(codec.tables.residual, follow=True)

    def latents(self, freq: I64, start: I64, low: int) -> I64:
        out, last = np.empty(self._n, np.int64), len(freq) - 1
        for part in self._groups:
            bits = np.full(part.stop - part.start, PRECISION, np.uint32)
            slot = self._decoder.slots(bits)
            index = np.searchsorted(start, slot, side="right") - 1
            self._decoder.advance(slot - start[index].astype(np.uint32), freq[index].astype(np.uint32), bits)
            out[part] = index
        escaped = np.flatnonzero(out == last)
        out += low
        out[escaped] = self._escaped(len(escaped))
        return out

    def residuals(self, table: NDArray[np.intp], shift: I64) -> I64:
        low, entries = np.empty(self._n, np.int64), np.empty(self._n, np.int64)
        fused = np.minimum(shift, FUSED).astype(np.uint32)
        bits, rest = fused + np.uint32(PRECISION), shift.astype(np.uint32) - fused
        counted = self._counted
        for part in self._groups:
            slot = self._decoder.slots(bits[part])
            entry = table[part] * SYMBOLS + counted.symbol[table[part] * TOTAL + (slot >> fused[part])]
            freq = counted.freq[entry]
            inside = slot - (counted.start[entry] << fused[part])
            low[part] = carried = inside // freq
            self._decoder.advance(inside - carried * freq, freq, bits[part])
            entries[part] = entry
        counted.met(entries)
        symbols = entries - table * SYMBOLS
        escape = (symbols == 0) | (symbols == SYMBOLS - 1)
        out = np.asarray(((symbols - (HALF + 1)) << shift) | (low << rest))
        if self._doubled:
            rest[escape] = 0
            for part in self._groups:
                out[part] |= self._decoder.slots(rest[part])
                nothing = np.zeros_like(rest[part])
                self._decoder.advance(nothing, nothing + np.uint32(1), rest[part])
        if escape.any():
            out[escape] = beyond_table(symbols[escape], shift[escape], self._escaped(int(escape.sum())))
        return out

    def finish(self) -> None:
        self._decoder.finish()
        if self._taken != len(self._escapes):
            raise CompressedCorrupt("a block holds more escaped numbers than its rows")

    def _escaped(self, count: int) -> I64:
        values = self._escapes[self._taken : self._taken + count]
        if len(values) != count:
            raise CompressedCorrupt("a block holds fewer escaped numbers than its rows")
        self._taken += count
        return values


class _Packet(_Stream):
    def __init__(self, codec: ModeCodec, decoder: RowDecoder) -> None:
        self._decoder = decoder
        if codec.tables.residual is not None:
            self._tables = codec._shipped

    def latents(self, freq: I64, start: I64, low: int) -> I64:
        slot = self._decoder.slot(PRECISION)
        index = int(np.searchsorted(start, slot, side="right")) - 1
        self._decoder.advance(int(start[index]), int(freq[index]), PRECISION)
        return np.array([self._decoder.number() if index == len(freq) - 1 else index + low], np.int64)

    def residuals(self, table: NDArray[np.intp], shift: I64) -> I64:
        at, wide = int(table[0]), int(shift[0])
        fused = min(wide, FUSED)
        slot = self._decoder.slot(PRECISION + fused)
        symbol = int(self._tables.symbol[at * TOTAL + (slot >> fused)])
        freq = int(self._tables.freq[at * SYMBOLS + symbol])
        start = int(self._tables.start[at * SYMBOLS + symbol]) << fused
        low = (slot - start) // freq
        self._decoder.advance(start + low * freq, freq, PRECISION + fused)
        if symbol in (0, SYMBOLS - 1):
            return beyond_table(np.array([symbol]), shift, np.array([self._decoder.number()], np.int64))
        rest = wide - fused
        value = ((symbol - HALF - 1) << wide) | (low << rest) | self._decoder.whole(rest)
        return np.array([value], np.int64)


def _crc(latents: I64 | None, numbers: I64 | None) -> int:
    """CRC-32 of all whole numbers, int32 with the low byte first."""
    crc = 0
    for array in (latents, numbers):
        if array is not None:
            crc = zlib.crc32(np.ascontiguousarray(array, "<i4").tobytes(), crc)
    return crc
