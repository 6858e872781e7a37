"""Any symbols, any tables, any lanes come back, at their code length; damaged streams end in one error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_edge_runtime import CompressedCorrupt
from vae_edge_runtime.codec.rans import (
    PRECISION,
    TOTAL,
    LaneDecoder,
    RowDecoder,
    encode_lanes,
    encode_row,
    integer_frequencies,
    number_symbols,
    read_varints,
    varints,
    zigzag,
)


def drawn(seed: int, steps: int, lanes: int, symbols: int, skew: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols, frequencies and starts of one random table."""
    rng = np.random.default_rng(seed)
    freq = integer_frequencies(rng.random((1, symbols)) ** skew + 1e-9)[0]
    chosen = rng.choice(symbols, (steps, lanes), p=freq / TOTAL)
    return chosen, freq, np.cumsum(freq) - freq


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 60),
    lanes=st.integers(1, 40),
    symbols=st.integers(2, 300),
    skew=st.sampled_from([0.1, 1.0, 4.0, 30.0]),
)
def test_any_symbols_of_any_table_come_back_from_any_lanes(
    seed: int, steps: int, lanes: int, symbols: int, skew: float
) -> None:
    chosen, freq, start = drawn(seed, steps, lanes, symbols, skew)
    bits = np.full(chosen.shape, PRECISION, np.uint32)
    data = encode_lanes(start[chosen].astype(np.uint32), freq[chosen].astype(np.uint32), bits)
    decoder = LaneDecoder(data, lanes)
    for step in range(steps):
        slot = decoder.slots(bits[step])
        symbol = np.searchsorted(start, slot, side="right") - 1
        np.testing.assert_array_equal(symbol, chosen[step])
        decoder.advance(slot - start[symbol].astype(np.uint32), freq[symbol].astype(np.uint32), bits[step])
    decoder.finish()
    code_bytes = -np.log2(freq[chosen] / TOTAL).sum() / 8
    assert code_bytes - 2 * lanes <= len(data) <= 1.001 * code_bytes + 4 * lanes


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 500), symbols=st.integers(2, 300))
def test_a_row_comes_back_at_its_code_length_and_a_byte(seed: int, count: int, symbols: int) -> None:
    chosen, freq, start = drawn(seed, count, 1, symbols, 2.0)
    row = chosen[:, 0]
    data = encode_row((int(start[s]), int(freq[s]), PRECISION) for s in row)
    decoder = RowDecoder(data)
    for symbol in row:
        slot = decoder.slot(PRECISION)
        assert np.searchsorted(start, slot, side="right") - 1 == symbol
        decoder.advance(int(start[symbol]), int(freq[symbol]), PRECISION)
    assert len(data) <= 1.001 * -np.log2(freq[row] / TOTAL).sum() / 8 + 1.01


@settings(max_examples=60, deadline=None)
@given(bits=st.lists(st.integers(0, 16), min_size=1, max_size=80), seed=st.integers(0, 1000))
def test_symbols_of_any_precision_mix(bits: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [int(rng.integers(1 << b)) for b in bits]
    row = RowDecoder(encode_row(zip(values, [1] * len(bits), bits, strict=True)))
    column = [np.array([[v]], np.uint32) for v in values]
    wide = [np.array([[b]], np.uint32) for b in bits]
    lanes = LaneDecoder(
        encode_lanes(np.concatenate(column), np.ones((len(bits), 1), np.uint32), np.concatenate(wide)), 1
    )
    for value, width in zip(values, bits, strict=True):
        one = np.array([width], np.uint32)
        assert (row.whole(width), int(lanes.slots(one)[0])) == (value, value)
        lanes.advance(np.zeros(1, np.uint32), np.ones(1, np.uint32), one)
    lanes.finish()


def test_a_stream_that_is_cut_or_longer_is_refused() -> None:
    chosen, freq, start = drawn(3, 200, 8, 20, 1.0)
    data = encode_lanes(
        start[chosen].astype(np.uint32), freq[chosen].astype(np.uint32), np.full(chosen.shape, PRECISION, np.uint32)
    )

    def read(stream: bytes) -> None:
        decoder, bits = LaneDecoder(stream, 8), np.full(8, PRECISION, np.uint32)
        for _ in range(200):
            slot = decoder.slots(bits)
            symbol = np.searchsorted(start, slot, side="right") - 1
            decoder.advance(slot - start[symbol].astype(np.uint32), freq[symbol].astype(np.uint32), bits)
        decoder.finish()

    read(data)
    for stream in (data[:-2], data + b"\0\0", data[:20], b"", data[:-1]):
        with pytest.raises(CompressedCorrupt):
            read(stream)


@given(st.lists(st.integers(-(1 << 61), 1 << 61), max_size=40))
def test_numbers_of_any_length_come_back_from_a_row(values: list[int]) -> None:
    row = RowDecoder(encode_row([s for z in zigzag(np.array(values, np.int64)) for s in number_symbols(z)]))
    assert [row.number() for _ in values] == values


@given(st.lists(st.integers(-(1 << 61), 1 << 61), max_size=40))
def test_varints_come_back(values: list[int]) -> None:
    assert read_varints(varints(np.array(values, np.int64))) == values


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 10])
def test_a_cut_or_endless_varint_is_refused(data: bytes) -> None:
    with pytest.raises(CompressedCorrupt, match="a number in the data"):
        read_varints(data)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), symbols=st.integers(1, 4000), skew=st.sampled_from([0.0, 1.0, 50.0]))
def test_frequencies_are_positive_and_add_up(seed: int, symbols: int, skew: float) -> None:
    weights = np.random.default_rng(seed).random((3, symbols)) ** skew + 1e-12
    freq = integer_frequencies(weights)
    assert freq.min() >= 1
    assert freq.sum(axis=1).tolist() == [TOTAL] * 3


def test_the_vectors_of_the_docs_are_what_is_written() -> None:
    page = (Path(__file__).parents[3] / "docs" / "compression.md").read_text()
    freq = np.array([8192, 4096, 3072, 1024])
    start = np.cumsum(freq) - freq
    symbols = np.array([3, 2, 1, 0] * 16).reshape(32, 2)
    bits = np.full(symbols.shape, PRECISION, np.uint32)
    lanes = encode_lanes(start[symbols].astype(np.uint32), freq[symbols].astype(np.uint32), bits)
    row = np.array([3, 2, 1, 0] * 8)
    alone = encode_row((int(start[s]), int(freq[s]), PRECISION) for s in row)
    for data in (lanes, alone, varints(np.array([0, -1, 1, -64, 64, 1000000]))):
        assert f"`{data.hex()}`" in page
