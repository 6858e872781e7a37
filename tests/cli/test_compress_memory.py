"""``compress`` and ``decompress`` hold a block, however many there are, and write the files that they wrote before."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_bundles import window_bundle, windows
from shell import Cli

from vae_edge_runtime import Decompressed, load
from vae_edge_runtime.__main__ import main as device
from vae_edge_runtime.codec import writer
from vae_edge_runtime.codec.rows import RowCodec

ROWS, BLOCK = 200, 40
FORMATS = (".npy", ".npz", ".csv", ".jsonl", ".parquet")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "default_block_rows", lambda _: BLOCK)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A file of rows, and one of ten times as many."""
    folder, some = tmp_path_factory.mktemp("rows"), windows(ROWS, 4)
    for times in (1, 10):
        np.save(folder / f"{times}.npy", np.tile(some, (times, 1, 1)))
    return {times: folder / f"{times}.npy" for times in (1, 10)}


def succeed(cli: Cli, *arguments: object) -> None:
    done = cli(*arguments)
    assert done.code == 0, done.err


def test_ten_times_the_rows_hold_no_more_blocks(
    cli: Cli, rows: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_block, write = RowCodec.read_block, writer.Writer.write
    alive: weakref.WeakSet[Decompressed] = weakref.WeakSet()
    most, taken = {}, []

    def counted_read(codec: RowCodec, body: bytes, n: int) -> Decompressed:
        block = read_block(codec, body, n)
        alive.add(block)
        most[suffix] = max(most.get(suffix, 0), len(alive))
        return block

    def counted_write(file: writer.Writer, x: np.ndarray, **options: Any) -> None:
        taken.append((len(x), file.held))
        write(file, x, **options)

    monkeypatch.setattr(RowCodec, "read_block", counted_read)
    monkeypatch.setattr(writer.Writer, "write", counted_write)
    for times, path in rows.items():
        succeed(cli, "compress", window_bundle(), path, "--exact", "-o", tmp_path / f"{times}.vaez")
        for suffix in FORMATS if times == 1 else (".npy", ".npz"):  # text of 40,000 lines takes seconds
            succeed(cli, "decompress", window_bundle(), tmp_path / f"{times}.vaez", "-o", tmp_path / f"{times}{suffix}")
    assert set(taken) == {(BLOCK, 0)}
    assert len(taken) == 11 * ROWS // BLOCK
    assert max(most.values()) <= 2, most  # the one before is let go when the next has come


@pytest.mark.parametrize("way", ["command", "device"])
def test_every_format_holds_every_block_in_order(
    cli: Cli, rows: dict[int, Path], tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, x = window_bundle(), np.load(rows[1])
    x[7] = np.nan
    np.save(tmp_path / "x.npy", x)
    day = tmp_path / "day.vaez"
    lines = [("compress", bundle, tmp_path / "x.npy", "--triage", "--bound", "0.05", "-o", day)]
    lines += [("decompress", bundle, day, "-o", tmp_path / f"back{suffix}") for suffix in FORMATS]
    for line in lines if way == "command" else lines[:3]:
        if way == "command":
            succeed(cli, *line)
        else:
            assert device(list(map(str, line))) == 0
    with load(bundle, device="cpu") as vae:
        assert day.read_bytes() == vae.compress(x, bound="0.05", triage=True)
        whole = vae.decompress(day.read_bytes())
    np.testing.assert_array_equal(np.load(tmp_path / "back.npy"), whole.rows)
    with np.load(tmp_path / "back.npz", allow_pickle=False) as arrays:
        assert {name: array.dtype for name, array in arrays.items()} == {
            name: array.dtype for name, array in whole.columns().items()
        }
        for name, array in whole.columns().items():
            np.testing.assert_array_equal(arrays[name], array)
    if way == "device":
        return
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(tmp_path / "back.parquet")
    np.testing.assert_array_equal(table["row"], np.repeat(np.arange(ROWS), 20))
    np.testing.assert_array_equal(table[list("vwxyz")].to_numpy(), whole.rows.reshape(-1, 5))
    assert str(table.dtypes["v"]) == str(table.dtypes["score"]) == "float32"
    text = pandas.read_csv(tmp_path / "back.csv", dtype={name: np.float32 for name in "vwxyz"})
    np.testing.assert_array_equal(text[list("vwxyz")].to_numpy(), whole.rows.reshape(-1, 5))
    assert list(text.columns) == list(table.columns)
    assert len((tmp_path / "back.jsonl").read_text().splitlines()) == ROWS * 20


def test_a_block_that_is_damaged_leaves_no_file_and_no_scratch(cli: Cli, rows: dict[int, Path], tmp_path: Path) -> None:
    day = tmp_path / "day.vaez"
    succeed(cli, "compress", window_bundle(), rows[1], "--exact", "-o", day)
    raw = bytearray(day.read_bytes())
    raw[-200] ^= 1
    day.write_bytes(raw)
    for suffix in FORMATS:
        done = cli("decompress", window_bundle(), day, "-o", tmp_path / f"back{suffix}")
        assert (done.code, "CompressedCorrupt" in done.err) == (2, True), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["day.vaez"]
