"""Files of compressed rows: appended to, followed, torn, full disks, bounded memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_bundles import window_bundle, windows

from vae_edge_runtime import (
    VAE,
    CompressedCorrupt,
    CompressedCut,
    CompressedTooNew,
    InputError,
    OptionError,
    StorageError,
    load,
)
from vae_edge_runtime.codec.container import described

X = windows(50, 7)


@pytest.fixture(scope="module")
def vae() -> Iterator[VAE]:
    with load(window_bundle(), device="cpu", threads=1) as session:
        yield session


def test_rows_of_any_sizes_come_back_in_order(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    with vae.compress_file(path, exact=True, block_rows=8) as writer:
        for part in (X[:3], X[3:3], X[3:30], X[30:]):
            writer.write(part)
    with vae.decompress_file(path) as blocks:
        pieces = list(blocks)
    assert [len(piece) for piece in pieces] == [8] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate([piece.rows for piece in pieces]), X)
    facts = described(path)
    assert (facts["rows"], facts["blocks"], facts["complete"], facts["torn_bytes"]) == (50, 7, True, 0)
    assert facts["pair_id"] == vae.manifest.pair_id


@pytest.mark.parametrize("wrong", [X[:, :1], X[0], X.astype(np.float64), X.tolist(), None, iter(X), np.float32(1)])
def test_rows_that_do_not_fit_are_refused_at_once_and_those_before_are_kept(
    vae: VAE, tmp_path: Path, wrong: Any
) -> None:
    with vae.compress_file(tmp_path / "day.vaez", exact=True) as writer:
        writer.write(X[:3])
        with pytest.raises(InputError):
            writer.write(wrong)
        writer.write(X[3:5])
    np.testing.assert_array_equal(vae.decompress((tmp_path / "day.vaez").read_bytes()).rows, X[:5])


def test_a_followed_file_is_read_up_to_its_last_whole_block(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    with vae.compress_file(path, exact=True, block_rows=10) as writer:
        writer.write(X[:25])
        with vae.decompress_file(path, allow_torn=True) as blocks:
            assert len(blocks.all_rows()) == 20
            assert not blocks.frames.complete
        with vae.decompress_file(path) as blocks, pytest.raises(CompressedCut, match="20 rows before") as cut:
            list(blocks)
        assert cut.value.rows == 20


def test_a_torn_last_block_is_dropped_and_said_at_every_length(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    with vae.compress_file(path, latents=True, block_rows=10) as writer:
        writer.write(X[:20])
        whole = writer.size_bytes
        writer.write(X[20:30])
        end = writer.size_bytes
    data = path.read_bytes()
    for size in range(whole, end):
        path.write_bytes(data[:size])
        with vae.decompress_file(path, allow_torn=True) as blocks:
            assert len(blocks.all_rows()) == 20
            assert blocks.frames.torn_bytes == size - whole
    for zeros in (1, 19, 20, 21, 4000):  # what a file system leaves after a power cut
        path.write_bytes(data[:whole] + bytes(zeros))
        with vae.decompress_file(path, allow_torn=True) as blocks:
            assert (len(blocks.all_rows()), blocks.frames.torn_bytes) == (20, zeros)
    path.write_bytes(data[:whole] + b"garbage that is no block at all")
    with vae.decompress_file(path, allow_torn=True) as blocks, pytest.raises(CompressedCorrupt, match="block 3"):
        blocks.all_rows()


def test_a_file_is_gone_on_with_over_its_torn_block_and_its_end_mark(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    with vae.compress_file(path, exact=True, block_rows=10) as writer:
        writer.write(X[:20])
    with path.open("ab") as file:  # an end mark followed by a torn block cannot be; a torn block alone can
        file.truncate(path.stat().st_size - 20)
        file.write(b"VZB\1torn")
    with vae.compress_file(path, exact=True, append=True) as writer:
        assert writer.rows == 20
        writer.write(X[20:])
    np.testing.assert_array_equal(vae.decompress(path.read_bytes()).rows, X)
    with pytest.raises(OptionError, match="exists"):
        vae.compress_file(path, exact=True)


class Full:
    """A disk with so many bytes left, in front of a file."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: bytes) -> int:
        taken = min(len(data), self.room)
        self._file.write(data[:taken])
        self.room -= taken
        if taken < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_full_disk_is_a_storage_error_and_the_file_ends_at_a_whole_block(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    writer = vae.compress_file(path, exact=True, block_rows=10)
    writer.write(X[:20])
    whole = writer.size_bytes
    writer._file = Full(writer._file, 100)  # type: ignore[assignment]
    with pytest.raises(StorageError, match="No space left"):
        writer.write(X[20:])
    writer._file.close()
    assert path.stat().st_size == whole
    with vae.decompress_file(path, allow_torn=True) as blocks:
        np.testing.assert_array_equal(blocks.all_rows().rows, X[:20])


def test_a_writer_left_by_an_error_puts_no_end_mark(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"

    def interrupted() -> None:
        with vae.compress_file(path, exact=True, block_rows=10) as writer:
            writer.write(X[:20])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    with pytest.raises(CompressedCut):
        vae.decompress(path.read_bytes())
    assert len(vae.decompress(path.read_bytes(), allow_torn=True)) == 20


def test_what_is_no_file_of_rows_or_a_newer_one_says_so(vae: VAE) -> None:
    data = vae.compress(X[:2], exact=True)
    with pytest.raises(CompressedCorrupt, match="does not begin with VAEZ"):
        vae.decompress(b"PK\3\4 and more")
    with pytest.raises(CompressedTooNew, match="version 2, this runtime reads 1"):
        vae.decompress(data[:4] + b"\2" + data[5:])
    with pytest.raises(CompressedCorrupt, match="bytes follow"):
        vae.decompress(data + b"more")
    with pytest.raises(OptionError, match=r"the bytes of a \.vaez file"):
        vae.decompress("day.vaez")  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_file(vae: VAE, tmp_path: Path) -> None:
    import tracemalloc

    def peak(blocks: int) -> int:
        path = tmp_path / f"{blocks}.vaez"
        tracemalloc.start()
        with vae.compress_file(path, bound="0.3", block_rows=16) as writer:
            for i in range(blocks):
                writer.write(windows(16, i))
        with vae.decompress_file(path) as reader:
            assert sum(len(block) for block in reader) == 16 * blocks
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)
    assert peak(8) < 1.5 * peak(2) + 200_000
