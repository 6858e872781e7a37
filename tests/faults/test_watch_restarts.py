"""``watch --state`` over kills and rotations at random moments: every row is decided once, every event kept once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import run

from vae_edge.watch.state_file import StateFile
from vae_edge_runtime import load
from vae_edge_runtime.stream import Alarm

KILLS = int(os.environ.get("VAE_EDGE_KILLS", "40"))
"""Of the slow test; 300 took 12 minutes on two busy cores, with 401 rotations."""
ROWS_AHEAD = 600
"""Of the reader, at most: some six rotations."""
PROGRESS_S = 120
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9, inodes")
FEATURES = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of single rows, with an alarm of 2 in 3."""
    folder = tmp_path_factory.mktemp("restarts")
    rows = np.random.default_rng(0).normal(size=(400, FEATURES))
    np.savetxt(folder / "rows.csv", rows, delimiter=",", header="a,b,c", comments="")
    options = ["--latent", 2, "--width", 8, "--depth", 1, "--epochs", 2]
    assert run("train", "mlp", "--data", folder / "rows.csv", *options, "-o", folder / "run").code == 0
    made = run(
        "export", folder / "run", "--calibration", folder / "rows.csv", "--alarm", "2/3", "--false-positive-rate", 0.1,
        "--period-s", 1, "-o", folder / "m.vaeb",
    )  # fmt: skip
    assert made.code == 0, made.err
    return folder / "m.vaeb"


class Plant:
    """Writes numbered rows into a file, and rotates it by rename or by copy and cut, at random moments.

    Attributes:
        rows: written. on_record: of them, as far as the last state says; the plant stays near them.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.rows, self.on_record, self.rotations = path, 0, 0, 0
        self._random, self._numbers = random.Random(seed), np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._new()

    def __enter__(self) -> Plant:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _new(self) -> None:
        with self.path.open("w") as file:
            file.write(self._random.choice(["t,a,b,c\n", "t,a,b,c\n# a comment\n"]))

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.rows > self.on_record + ROWS_AHEAD:
                self._stop.wait(0.02)
                continue
            self.add(self._random.choice((1, 3, 40)))
            if self._random.random() < 0.15:
                self._rotate(copy=self._random.random() < 0.5)

    def add(self, rows: int) -> None:
        values = self._numbers.normal(size=(rows, FEATURES)).round(3)
        text = "".join(f"{self.rows + i}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(values.tolist()))
        half = self._random.randrange(len(text))
        for piece in (text[:half], text[half:]):  # a line may be half there for some time
            with self.path.open("a") as file:
                file.write(piece)
            time.sleep(self._random.choice((0, 0.01, 0.1)))
        self.rows += rows

    def _rotate(self, *, copy: bool) -> None:
        self.rotations += 1
        numbers = sorted((int(p.suffix[1:]) for p in self.path.parent.glob(f"{self.path.name}.[0-9]*")), reverse=True)
        for n in numbers:
            self._numbered(n).replace(self._numbered(n + 1))
        if copy:
            shutil.copyfile(self.path, self._numbered(1))
            os.truncate(self.path, 0)
        else:
            self.path.replace(self._numbered(1))
        time.sleep(self._random.choice((0, 0.01)))
        if not copy:
            self._new()
        else:
            with self.path.open("a") as file:
                file.write("t,a,b,c\n")

    def _numbered(self, n: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{n}")


def watch(bundle: Path, folder: Path, *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vae_edge", "watch", bundle, folder / "live.csv", "--follow", "--time-column", "t",
               "--state", folder / "state", "-o", folder / "events.jsonl", "--rotate-at", 50_000, "--rotate-keep", 999,
               "--threads", 1, *more]  # fmt: skip
    return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)


def events_of(folder: Path) -> list[dict[str, Any]]:
    """All events, the oldest first."""
    rotated = sorted(folder.glob("events.jsonl.*"), key=lambda p: -int(p.suffix[1:]))
    files = [path for path in (*rotated, folder / "events.jsonl") if path.exists()]
    return [
        json.loads(line) for path in files for line in path.read_text().splitlines(keepends=True) if line[-1:] == "\n"
    ]


def rows_on_record(folder: Path) -> int:
    """Rows that the last state has behind it."""
    state = StateFile(folder / "state").read()
    return 0 if state is None else int(state["stream"]["counters"]["rows"])


def goes_on(process: subprocess.Popen[str], plant: Plant, until: Callable[[int], bool]) -> None:
    """Wait for a state that has so many rows behind it."""
    deadline = time.monotonic() + PROGRESS_S
    while not until(rows := rows_on_record(plant.path.parent)):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, f"no state beyond {rows} of {plant.rows} rows within {PROGRESS_S} s"
        time.sleep(0.02)
        plant.on_record = rows
    plant.on_record = rows


def account(bundle: Path, tmp_path: Path, record: Callable[[str, object], None], kills: int, seed: int) -> None:
    chance = random.Random(seed)
    plant = Plant(tmp_path / "live.csv", seed)
    first = watch(bundle, tmp_path)  # what is rotated away before the first state belongs to nobody
    goes_on(first, plant, lambda _rows: (tmp_path / "state").exists())
    begin = time.monotonic()
    with plant:
        first.kill()
        first.communicate()
        for _ in range(kills):
            process, before = watch(bundle, tmp_path), plant.on_record
            if chance.random() < 0.9:
                goes_on(process, plant, lambda rows, before=before: rows > before)
                time.sleep(chance.uniform(0, 0.3))
            else:
                time.sleep(chance.uniform(0, 1))  # while it starts, on an idle machine also while it catches up
            assert process.poll() is None, process.stderr and process.stderr.read()
            process.kill()
            process.communicate()
    killed_s = time.monotonic() - begin
    plant.add(1)  # only the last process can record it, so SIGTERM meets a process that has its handler
    process = watch(bundle, tmp_path)
    goes_on(process, plant, lambda rows: rows == plant.rows)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    events = events_of(tmp_path)
    decisions = [event for event in events if event["kind"] == "decision"]
    assert not [event for event in events if event["kind"] == "lost"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert [event["index"] for event in decisions] == list(range(plant.rows))
    assert [event["time"] for event in decisions] == list(range(plant.rows))
    assert len({event["stream"] for event in events}) == 1
    with load(bundle, device="cpu") as vae:
        alarm = Alarm(vae.manifest.stream.alarm)  # type: ignore[union-attr]
    assert [e["alarm"] for e in decisions] == [alarm.step(e["is_anomaly"], e["p_value"]) for e in decisions]
    assert {"raised", "cleared"} <= {event["alarm"] for event in decisions}
    assert not list(tmp_path.glob(".*.part"))
    assert plant.rotations >= kills // 3
    record("figures", f"{kills} kills, {plant.rotations} rotations, {len(events)} events in {killed_s:.0f} s")


def test_every_row_is_accounted_for_once_over_kills_and_rotations(
    bundle: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    account(bundle, tmp_path, record_testsuite_property, kills=6, seed=1)


@pytest.mark.slow
def test_every_row_is_accounted_for_once_over_many_kills_and_rotations(
    bundle: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    account(bundle, tmp_path, record_testsuite_property, kills=KILLS, seed=2)
