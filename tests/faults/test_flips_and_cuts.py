"""Every cut and every flipped bit of a real bundle, one after the other, none left to chance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vae_edge_runtime import Bundle, BundleCorrupt, BundleError
from vae_edge_runtime.format.archive import Archive


def error_of(path: Path) -> BundleError:
    """What opening and hashing everything raises; it must raise."""
    with pytest.raises(BundleError) as caught, Bundle.open(path) as bundle:
        bundle.verify_members()
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value


@contextmanager
def writable(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


def test_cut_at_every_byte_is_refused_as_corrupt(tiny_path: Path) -> None:
    size = tiny_path.stat().st_size
    for length in reversed(range(size)):
        os.truncate(tiny_path, length)
        assert isinstance(error_of(tiny_path), BundleCorrupt), length


def test_one_flipped_bit_in_every_byte_is_refused_and_names_the_member_it_hit(tiny_path: Path) -> None:
    raw = tiny_path.read_bytes()
    owner: dict[int, str] = {}
    for entry in Archive.open(tiny_path).entries.values():
        owner |= dict.fromkeys(range(entry.offset, entry.offset + entry.size_bytes), entry.name)
    with writable(tiny_path) as fd:
        for at, byte in enumerate(raw):
            os.pwrite(fd, bytes([byte ^ 1 << at % 8]), at)
            error = error_of(tiny_path)
            if at in owner:
                assert (type(error), error.member) == (BundleCorrupt, owner[at]), at
            os.pwrite(fd, raw[at : at + 1], at)
    assert tiny_path.read_bytes() == raw


def test_every_bit_of_every_header_is_refused(tiny_path: Path) -> None:
    raw = tiny_path.read_bytes()
    data = {i for e in Archive.open(tiny_path).entries.values() for i in range(e.offset, e.offset + e.size_bytes)}
    headers = [at for at in range(len(raw)) if at not in data]
    assert len(headers) > 1500
    with writable(tiny_path) as fd:
        for at in headers:
            for bit in range(8):
                os.pwrite(fd, bytes([raw[at] ^ 1 << bit]), at)
                error_of(tiny_path)
            os.pwrite(fd, raw[at : at + 1], at)


def test_two_bytes_of_a_member_swapped_is_refused(tiny_path: Path) -> None:
    raw = tiny_path.read_bytes()
    entry = Archive.open(tiny_path).entries["fp32/decoder.weights"]
    with writable(tiny_path) as fd:
        for at in range(entry.offset, entry.offset + entry.size_bytes - 1):
            if raw[at] != raw[at + 1]:
                os.pwrite(fd, raw[at : at + 2][::-1], at)
                assert error_of(tiny_path).member == "fp32/decoder.weights"
                os.pwrite(fd, raw[at : at + 2], at)
