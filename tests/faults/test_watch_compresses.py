"""``watch --compress`` on the command line, and over kill -9: every row of the source is in the file once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import window_bundle, windows
from shell import Cli, run

from vae_edge_runtime import load
from vae_edge_runtime.errors import CompressedError

KILLS = int(os.environ.get("VAE_EDGE_KILLS", "15"))


@pytest.fixture
def cli() -> Cli:
    return run


def csv_of(rows: np.ndarray, path: Path) -> Path:
    np.savetxt(path, rows, "%.2f", delimiter=",", header="v,w,x,y,z", comments="")
    return path


def rows_in(path: Path) -> np.ndarray:
    with load(window_bundle(), device="cpu", threads=1) as vae, vae.decompress_file(path, allow_torn=True) as blocks:
        return blocks.all_rows().rows.reshape(-1, 5)


def test_watch_appends_every_row_to_a_file(cli: Cli, tmp_path: Path) -> None:
    rows, day = windows(30, 8).reshape(-1, 5), tmp_path / "day.vaez"
    source = csv_of(rows[:-5], tmp_path / "rows.csv")
    # Decisions may overlap; the file has each row once.
    done = cli("watch", window_bundle(), source, "--stride", 7, "--compress", day, "--exact")
    assert done.code == 0, done.err
    assert "the last 15 rows fill no window yet" in done.err
    np.testing.assert_array_equal(rows_in(day), rows[:-20])
    assert "29 in 1 block, complete" in cli("info", day).out
    done = cli("watch", window_bundle(), source, "--compress", day, "--exact")
    np.testing.assert_array_equal(rows_in(day), np.concatenate([rows[:-20]] * 2))
    assert not (tmp_path / "day.vaez.waiting").exists()


def test_watch_triages_and_says_what_it_needs(cli: Cli, tmp_path: Path) -> None:
    source, day = csv_of(windows(30, 8).reshape(-1, 5), tmp_path / "rows.csv"), tmp_path / "day.vaez"
    done = cli("watch", window_bundle(), source, "--compress", day, "--triage", "--bound", "0.05")
    assert done.code == 0, done.err
    assert cli("decompress", window_bundle(), day, "-o", tmp_path / "x.npz").code == 0
    with np.load(tmp_path / "x.npz") as back:
        assert set(back["kind"].tolist()) == {"latents", "bounded"}
        assert np.isfinite(back["score"]).all()
    for options, said in (
        (("--bound", "0.05"), "name its file"),
        (("--compress", tmp_path / "new.vaez"), "say one of --bound, --exact and --latents"),
        (("--compress", tmp_path / "new.vaez", "--bound", "7"), "no tables for '7'"),
    ):
        done = cli("watch", window_bundle(), source, *options)
        assert done.code == 2
        assert said in done.err
    assert not (tmp_path / "new.vaez").exists()


def test_a_state_goes_with_its_file(cli: Cli, tmp_path: Path) -> None:
    source, state = csv_of(windows(9, 8).reshape(-1, 5)[:-7], tmp_path / "rows.csv"), tmp_path / "state"
    options = ("watch", window_bundle(), source, "--state", state)
    assert cli(*options, "--compress", tmp_path / "day.vaez", "--exact").code == 0
    with source.open("a") as file:
        np.savetxt(file, windows(9, 8).reshape(-1, 5)[-7:], "%.2f", delimiter=",")
    done = cli(*options)
    assert (done.code, "goes with --compress" in done.err) == (2, True)
    done = cli(*options, "--compress", tmp_path / "night.vaez", "--exact")
    assert (done.code, "goes with --compress" in done.err) == (2, True)
    assert cli(*options, "--compress", tmp_path / "day.vaez", "--exact").code == 0
    np.testing.assert_array_equal(rows_in(tmp_path / "day.vaez"), windows(9, 8).reshape(-1, 5))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_every_row_is_in_the_file_once_over_many_kills(tmp_path: Path) -> None:
    chance, source, day = random.Random(3), tmp_path / "live.csv", tmp_path / "day.vaez"
    rows = windows(260 * KILLS, 9).reshape(-1, 5)
    csv_of(rows[:0], source)
    command = [
        sys.executable, "-m", "vae_edge", "watch", window_bundle(), source, "--follow", "--state", tmp_path / "state",
        "-o", tmp_path / "events.jsonl", "--threads", "1", "--compress", day, "--exact",
    ]  # fmt: skip
    written = followed = 0

    def write(count: int) -> int:
        with source.open("a") as file:
            np.savetxt(file, rows[written : written + count], "%.2f", delimiter=",")
        return min(written + count, len(rows))

    def started() -> subprocess.Popen[str]:
        """A process that has taken rows on record."""
        nonlocal written
        process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
        before, deadline = state_time(), time.monotonic() + 120
        written = write(200)
        while state_time() == before:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    def state_time() -> int:
        return (tmp_path / "state").stat().st_mtime_ns if (tmp_path / "state").exists() else 0

    for _ in range(KILLS):
        process = started()
        for _ in range(chance.randrange(12)):
            written = write(chance.randrange(1, 400))
            time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        try:  # a follower reads whole blocks, whatever the writer did not finish
            seen = rows_in(day)
        except CompressedError:  # killed before the header was whole
            continue
        assert len(seen) >= followed
        np.testing.assert_array_equal(seen, rows[: len(seen)])
        followed = len(seen)
    process = started()
    while written < len(rows):
        written = write(4000)
    deadline = time.monotonic() + 120
    while not (events := (tmp_path / "events.jsonl").read_text()).count("\n") >= len(rows) // 20:
        assert time.monotonic() < deadline, events[-300:]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    np.testing.assert_array_equal(rows_in(day), rows)
    assert followed > 0
