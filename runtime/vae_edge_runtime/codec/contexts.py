"""Whole numbers to symbols with contexts, and back: integers throughout, so that no machine sees another context.

What a number is predicted from, and how large it is likely to be, follows from numbers before it alone: earlier steps
of its feature, and features before it at the same step and the step before. Arrays here are (steps T, features C, n
rows): a position of all rows lies together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rans import PRECISION, TOTAL
from .tables import FRACTIONS, HALF, SYMBOLS, ResidualTables

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

LARGEST = 1 << 30
"""Numbers beyond are not coded: their row is stored as it is."""
_BIG = 1 << 20
FUSED = 2
"""Low bits that one symbol carries along; more of them are a symbol of their own."""
FIRST_COUNT, COUNT = 2000, 32
"""Numbers of a block after which its tables are made anew, and the weight of each; then half as many again, and so on.

On rows like those of the fit sizes change by -0.3 to 0.05 %; with a tenth of the spread as new noise by -4 to -6 %.
"""
_CHUNK = 1 << 17
"""Numbers looked at together: their arrays stay in the cache."""


class Symbols(NamedTuple):
    """Columns of symbols (columns, n), in the order in which they are read, and what escaped, likewise."""

    start: U32
    freq: U32
    bits: U32
    escapes: I64
    escaped: NDArray[np.bool_]


def predictions(numbers: I64, tables: ResidualTables) -> I64:
    """Predicted numbers in eighths, (T, C, n)."""
    weights, lags, reach = tables.weights.astype(np.int64)[:, :, None], tables.lags, tables.reach
    total = np.empty(numbers.shape, np.int64)
    total[:] = weights[:, -1]
    for lag in range(1, lags + 1):
        total[lag:] += weights[:, lag - 1] * numbers[:-lag]
    for back in range(1, reach + 1):
        total[:, back:] += weights[back:, lags + back - 1] * numbers[:, :-back]
        if lags:
            total[1:, back:] += weights[back:, lags + reach + back - 1] * numbers[:-1, :-back]
    total >>= 9
    return total


def sizes(residual: I64, tables: ResidualTables) -> I64:
    """How large each residual is likely to be, in sixteenths, (T, C, n)."""
    weights = tables.size_weights.astype(np.int64)[:, :, None]
    magnitude = np.minimum(np.abs(residual), _BIG) << 4
    total = np.empty(residual.shape, np.int64)
    total[:] = tables.mean_size[:, :, None] * weights[:, 0]
    for lag in (1, 2, 3):
        total[lag:] += weights[:, lag] * magnitude[:-lag]
    for back in (1, 2):
        total[:, back:] += weights[back:, 3 + back] * magnitude[:, :-back]
    total >>= 12
    return np.maximum(total, 0, out=total)


def bin_lookup(tables: ResidualTables) -> Callable[[I64], NDArray[np.intp]]:
    """A function from sizes to their bins: how many edges are at most the size."""
    edges = tables.edges.astype(np.int64)
    last = int(edges[-1]) if len(edges) else 0
    if last >= 1 << 17:
        return lambda size: np.searchsorted(edges, size, side="right")
    by_size = np.searchsorted(edges, np.arange(last + 1), side="right")
    return lambda size: by_size[np.minimum(size, last)]


def rest_bits(tables: ResidualTables) -> bool:
    """Whether a number has a second symbol, of low bits."""
    return int(tables.shift.max()) > FUSED


def residual_symbols(numbers: NDArray[np.int64], tables: ResidualTables, counted: Counted) -> Symbols:
    """Numbers (n, T, C) to columns of symbols, one for each position, or two where ``rest_bits``."""
    n, (steps, count) = len(numbers), numbers.shape[1:]
    bins, doubled = bin_lookup(tables), rest_bits(tables)
    columns = steps * count
    entries = np.empty((columns, n), np.int32)
    first_bits, fused, low, rest = (np.empty((columns, n), np.uint32) for _ in range(4))
    coded, escaped = np.empty((columns, n), np.int64), np.empty((columns, n), np.bool_)
    stride = max(1, _CHUNK // columns)
    for first in range(0, n, stride):
        part = slice(first, first + stride)
        chunk = np.ascontiguousarray(numbers[part].transpose(1, 2, 0))
        predicted = predictions(chunk, tables) + 4
        residual = chunk - (predicted >> 3)
        bin_ = bins(sizes(residual, tables))
        shift = tables.shift[bin_].astype(np.int64)
        symbol = np.clip((residual >> shift) + (HALF + 1), 0, SYMBOLS - 1)
        escape = (symbol == 0) | (symbol == SYMBOLS - 1)
        beyond = np.where(symbol == 0, (-HALF << shift) - 1 - residual, residual - ((HALF + 1) << shift))
        carried = np.minimum(shift, FUSED)
        shift[escape] = carried[escape]  # a reader knows of an escape only after the symbol that carries the first bits
        bits = np.where(escape, 0, residual & ((1 << shift) - 1))
        for array, values in (
            (entries, (bin_ * FRACTIONS + ((predicted & 7) >> 1)) * SYMBOLS + symbol),
            (fused, carried), (rest, shift - carried), (first_bits, bits >> (shift - carried)), (low, bits),
            (coded, (beyond >> 1) ^ -(beyond & 1)), (escaped, escape),
        ):  # fmt: skip
            array[:, part] = values.reshape(columns, -1)
    start, freq = np.empty((columns, n), np.uint32), np.empty((columns, n), np.uint32)
    at = 0
    while at < columns:
        part = slice(at, at := min(columns, at + counted.columns_left(n)))
        freq[part], start[part] = counted.freq[entries[part]], counted.start[entries[part]]
        counted.met(entries[part])
    start <<= fused
    start += first_bits * freq
    out = [start, freq, fused + np.uint32(PRECISION)]
    in_order = coded[escaped]
    if doubled:
        low &= (np.uint32(1) << rest) - np.uint32(1)
        further = (low, np.ones_like(low), rest)
        out = [np.stack(both, axis=1).reshape(-1, n) for both in zip(out, further, strict=True)]
        escaped = np.stack([escaped, np.zeros_like(escaped)], axis=1).reshape(-1, n)  # low bits never escape
    return Symbols(out[0], out[1], out[2], in_order, escaped)


class Counted:
    """The tables of a block, which follow what the block holds: sender and receiver count alike.

    Attributes:
        freq, start: by (table, symbol), flat. symbol: by (table, place), flat.
    """

    def __init__(self, tables: ResidualTables, *, follow: bool) -> None:
        self._counts = tables.freq.copy()
        self._waiting: list[I64] = []
        self._seen, self._due = 0, FIRST_COUNT if follow else None
        self._tabulate(tables.freq)

    def columns_left(self, n: int) -> int:
        """Columns of n numbers until the tables are made anew, at least one."""
        return 1 << 62 if self._due is None else -(-(self._due - self._seen) // n)

    def met(self, entries: I64) -> None:
        """Numbers of whole columns, as their places in ``freq``."""
        if self._due is None:
            return
        self._seen += entries.size
        self._waiting.append(entries.ravel())
        if self._seen < self._due:
            return
        every = np.bincount(np.concatenate(self._waiting), minlength=self._counts.size)
        self._counts += COUNT * every.reshape(self._counts.shape)
        self._waiting, self._due = [], self._seen + self._seen // 2
        freq = 1 + self._counts * (TOTAL - SYMBOLS) // self._counts.sum(axis=1, keepdims=True)
        largest = self._counts.argmax(axis=1)
        freq[np.arange(len(freq)), largest] += TOTAL - freq.sum(axis=1)
        self._tabulate(freq)

    def _tabulate(self, freq: I64) -> None:
        self.freq = freq.ravel().astype(np.uint32)
        self.start = (np.cumsum(freq, axis=1) - freq).ravel().astype(np.uint32)
        self.symbol = np.repeat(np.tile(np.arange(SYMBOLS, dtype=np.uint8), len(freq)), self.freq)


class Source:
    """Where the symbols of one position of all rows come from; a block and a packet read them differently."""

    def residuals(self, table: NDArray[np.intp], shift: I64) -> I64:
        """(n,) residuals of one position, by their tables and shifts."""
        raise NotImplementedError


def read_numbers(source: Source, n: int, tables: ResidualTables) -> I64:
    """Numbers (n, T, C) back, position by position."""
    steps, count = tables.mean_size.shape
    lags, reach = tables.lags, tables.reach
    bins, shifts = bin_lookup(tables), tables.shift.astype(np.int64)
    weights, size_weights = tables.weights.astype(np.int64), tables.size_weights.astype(np.int64)
    # Three steps of zeros before the first, and two features before the first, spare every border case.
    left = max(reach, 2)
    numbers = np.zeros((steps + 3, count + left, n), np.int64)
    magnitude = np.zeros((steps + 3, count + left, n), np.int64)
    earlier, before, both, constant = (
        weights[:, :lags][:, ::-1], weights[:, lags : lags + reach][:, ::-1], weights[:, lags + reach : -1][:, ::-1],
        weights[:, -1],
    )  # fmt: skip
    size_earlier, size_before = size_weights[:, 1:4][:, ::-1], size_weights[:, 4:][:, ::-1]
    own = tables.mean_size * size_weights[:, 0]
    for t in range(3, steps + 3):
        for c in range(count):
            at = c + left
            predicted = np.full(n, constant[c])
            if lags:
                predicted += earlier[c] @ numbers[t - lags : t, at]
            if reach:
                predicted += before[c] @ numbers[t, at - reach : at]
                if lags:
                    predicted += both[c] @ numbers[t - 1, at - reach : at]
            predicted = (predicted >> 9) + 4
            size = own[t - 3, c] + size_earlier[c] @ magnitude[t - 3 : t, at]
            size += size_before[c] @ magnitude[t, at - 2 : at]
            bin_ = bins(np.maximum(size >> 12, 0))
            residual = source.residuals(bin_ * FRACTIONS + ((predicted & 7) >> 1), shifts[bin_])
            numbers[t, at] = residual + (predicted >> 3)
            magnitude[t, at] = np.minimum(np.abs(residual), _BIG) << 4
    read: I64 = numbers[3:, left:].transpose(2, 0, 1)
    return read


def beyond_table(symbol: I64, shift: I64, escaped: I64) -> I64:
    """Residuals of escapes: ``escaped`` says, zigzag, how far each lies beyond what its table has symbols for."""
    beyond = (escaped << 1) ^ (escaped >> 63)
    return np.where(symbol == 0, (-HALF << shift) - 1 - beyond, beyond + ((HALF + 1) << shift))
