"""Rows larger than memory: an export maps them, and takes copies of a few at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vae_edge_export import ExportConfig
from vae_edge_export.rows import split_rows
from vae_edge_export.support import Support
from vae_edge_runtime.errors import StorageError
from vae_edge_runtime.storage import scratch

MIB = 1 << 20


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", MIB)
    monkeypatch.setattr(scratch, "_PIECE_BYTES", MIB)


def test_a_large_npy_is_split_without_being_loaded(small: None, tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.float32, shape=(2000, 32, 32, 4))
    x[:] = np.random.default_rng(0).random((2000, 1, 1, 4), dtype=np.float32)
    size = x.nbytes
    assert size == 2000 * 16384
    tracemalloc.start()
    rows = split_rows(x, None, None, ExportConfig(layout="nhwc"))
    support = Support.of(rows.calibration["x"], "nhwc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 4
    assert len(rows.calibration["x"]) == 1600
    both = np.concatenate([rows.calibration["x"], rows.held_out["x"]])
    np.testing.assert_array_equal(np.sort(both[:, 0, 0, 0]), np.sort(x[:, 0, 0, 0]))
    assert support.high[0] == rows.calibration["x"].max()


def test_rows_are_the_same_in_a_file_as_in_memory(small: None) -> None:
    x = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 64), np.uint8)
    chosen = np.arange(400) % 3 == 0
    np.testing.assert_array_equal(scratch.picked(x, chosen), x[chosen])
    turned = scratch.contiguous(np.transpose(x, (0, 3, 1, 2)))
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, np.transpose(x, (0, 3, 1, 2)))
    assert scratch.contiguous(x) is x


def test_no_file_is_left_and_a_full_folder_is_a_typed_error(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = scratch.scratch_array((3, MIB), np.uint8)
    array[2, -1] = 7
    assert array.flags.writeable
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match="set TMPDIR to a folder with room"):
        scratch.scratch_array((3, MIB), np.uint8)


@pytest.mark.parametrize("layout", ["features", "time_features", "any", "nhwc"])
def test_the_support_of_pieces_is_that_of_the_whole(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"features": (50, 6), "time_features": (50, 4, 6), "any": (50, 4, 6), "nhwc": (50, 4, 6, 3)}[layout]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x[..., 0] = np.round(x[..., 0])
    whole = Support.of(x, layout)  # type: ignore[arg-type]
    monkeypatch.setattr(scratch, "_PIECE_BYTES", 3 * x[0].nbytes)
    pieces = Support.of(x, layout)  # type: ignore[arg-type]
    for name in ("low", "high", "whole"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
