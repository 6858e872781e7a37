"""The integer tables of one way to compress: how they lie in the bundle, and what they must keep to."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleInvalid
from ..record import record
from .rans import TOTAL

HALF = 15
"""Residual symbols stand for -HALF to HALF; the first and the last of a table are the escapes below and above."""
SYMBOLS = 2 * HALF + 3
FRACTIONS = 4
"""Tables per size bin: by where between two whole numbers the prediction lies."""
MAX_SHIFT = 18
SIZE_FEATURES = 6
_MAGIC = b"VT1\0"
_ARRAY = struct.Struct("<cB")
_TYPES = {b"b": np.uint8, b"h": np.uint16, b"i": np.int32, b"f": np.float32, b"d": np.float64}


@record(frozen=True, eq=False)
class LatentTables:
    """How latents become symbols: one step and one table per group of latents.

    Attributes:
        step: (groups,) float32 between two values; 0 where latents are indices of a codebook.
        low: (groups,) int32: the value of a table's first symbol.
        count: (groups,) int32: its symbols without the escape, which comes last.
        freq: (sum of count + 1,) int64, the tables one after the other, each adding up to 2**14.
    """

    step: NDArray[np.float32]
    low: NDArray[np.int32]
    count: NDArray[np.int32]
    freq: NDArray[np.int64]

    def check(self) -> None:
        """Refuse arrays that contradict each other."""
        groups = len(self.step)
        ends = np.cumsum(self.count.astype(np.int64) + 1)
        _check(self.step.shape == self.low.shape == self.count.shape == (groups,) and groups > 0, "latents")
        _check(bool((self.count >= 1).all()) and self.freq.shape == (int(ends[-1]),), "latents")
        _check(bool(np.isfinite(self.step).all() and (self.step >= 0).all()), "latent steps")
        _check(bool((self.freq >= 1).all()), "latent frequencies")
        _check(bool((np.add.reduceat(self.freq, ends - self.count - 1) == TOTAL).all()), "latent frequencies")


@record(frozen=True, eq=False)
class ResidualTables:
    """How what is left of (steps, features) becomes symbols; C is the number of features, T of steps.

    Attributes:
        step: (C,) float64, size of one whole number: in data units, or in steps of the grid where there is one.
        per_unit: (C,) float64: grid steps per data unit, of rows that lie on a grid; 0 else.
        centre: (C,) int32, taken off every number; 0 where the network predicts.
        weights: (C, lags + reach * (1 + (lags > 0)) + 1) int32, 2**12 is one: earlier steps of the feature, features
            before it at this step, those one step earlier, then a constant.
        size_weights: (C, 6) int32, 2**12 is one: of the position's own mean size, of the sizes of three earlier steps
            and of the two features before.
        mean_size: (T, C) int32, of a residual, in sixteenths.
        edges: ascending int32: sizes at which the next bin begins.
        shift: (bins,) uint8: low bits that are sent as they are.
        freq: (bins * 4, 33) int64, each row adding up to 2**14.
        lags: earlier steps that predict. reach: features before that do.
    """

    step: NDArray[np.float64]
    per_unit: NDArray[np.float64]
    centre: NDArray[np.int32]
    weights: NDArray[np.int32]
    size_weights: NDArray[np.int32]
    mean_size: NDArray[np.int32]
    edges: NDArray[np.int32]
    shift: NDArray[np.uint8]
    freq: NDArray[np.int64]
    lags: int
    reach: int

    def check(self) -> None:
        """Refuse arrays that contradict each other."""
        (count,), bins = self.step.shape, len(self.edges) + 1
        width = self.lags + self.reach * (2 if self.lags else 1) + 1
        _check(self.weights.shape == (count, width) and self.size_weights.shape == (count, SIZE_FEATURES), "weights")
        _check(self.per_unit.shape == self.centre.shape == (count,), "steps")
        _check(bool(np.isfinite(self.step).all() and (self.step > 0).all() and (self.per_unit >= 0).all()), "steps")
        _check(self.mean_size.ndim == 2 and self.mean_size.shape[1] == count and (self.mean_size >= 0).all(), "sizes")
        _check(bool((np.diff(self.edges) > 0).all()) and bins <= 64, "edges")
        _check(self.shift.shape == (bins,) and bool((self.shift <= MAX_SHIFT).all()), "shifts")
        _check(self.freq.shape == (bins * FRACTIONS, SYMBOLS) and bool((self.freq >= 1).all()), "frequencies")
        _check(bool((self.freq.sum(axis=1) == TOTAL).all()), "frequencies")

    @property
    def gridded(self) -> bool:
        """Whether rows lie on a grid, and come back on it."""
        return bool(self.per_unit.any())


@record(frozen=True, eq=False)
class Tables:
    """Of one mode: latents where the network takes part, residuals where single values count."""

    latents: LatentTables | None
    residual: ResidualTables | None

    def to_bytes(self) -> bytes:
        """The member of the bundle."""
        parts = [_MAGIC, bytes([self.latents is not None, self.residual is not None])]
        if (z := self.latents) is not None:
            parts += [_array(a) for a in (z.step, z.low, z.count, z.freq.astype(np.uint16))]
        if (r := self.residual) is not None:
            parts.append(bytes([r.lags, r.reach]))
            whole = (r.weights, r.size_weights, r.mean_size, r.edges, r.shift, r.freq.astype(np.uint16))
            parts += [_array(a) for a in (r.step, r.per_unit, r.centre, *whole)]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes, member: str) -> Tables:
        """Parse and check.

        Raises:
            BundleInvalid: the bytes are no tables, or contradict each other.
        """
        try:
            reader = _Reader(data)
            if reader.take(4) != _MAGIC:
                raise ValueError("magic")
            has_latents, has_residual = reader.take(2)
            latents = residual = None
            if has_latents:
                step, low, count, freq = (reader.array() for _ in range(4))
                latents = LatentTables(step, low, count, freq.astype(np.int64))
                latents.check()
            if has_residual:
                lags, reach = reader.take(2)
                *arrays, freq = (reader.array() for _ in range(9))
                fields: list[Any] = [*arrays, freq.astype(np.int64), lags, reach]
                residual = ResidualTables(*fields)
                residual.check()
            reader.end()
        except (ValueError, TypeError, KeyError, IndexError, struct.error) as error:
            raise BundleInvalid(f"its compression tables do not fit each other ({error})", member=member) from None
        return cls(latents, residual)


def _check(good: bool | np.bool_, what: str) -> None:
    if not good:
        raise ValueError(what)


def _array(values: NDArray[Any]) -> bytes:
    code = next(code for code, kind in _TYPES.items() if values.dtype == kind)
    head = _ARRAY.pack(code, values.ndim) + struct.pack(f"<{values.ndim}I", *values.shape)
    return head + np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("cut short")
        self._at += size
        return piece

    def array(self) -> NDArray[Any]:
        code, rank = _ARRAY.unpack(self.take(_ARRAY.size))
        kind = np.dtype(_TYPES[code])
        shape = struct.unpack(f"<{rank}I", self.take(4 * rank))
        size = kind.itemsize
        for length in shape:
            size *= length
        array: NDArray[Any] = np.frombuffer(self.take(size), kind.newbyteorder("<")).astype(kind).reshape(shape)
        return array

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("bytes after the last table")
