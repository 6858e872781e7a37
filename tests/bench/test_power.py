"""Power beside calls, by a fake tegrastats."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vae_edge.bench.power import Tegrastats, energy, find_sampler, watts


def _milliwatts(lines: Sequence[str]) -> list[float]:
    return [int(found.group(1)) / 1e3 for line in lines if (found := re.search(r"VDD_IN (\d+)mW", line))]


class Recorded:
    """A sampler of recorded lines; it knows whether it runs."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.running = lines, False

    def start(self) -> None:
        self.running = True

    def stop(self) -> list[str]:
        self.running = False
        return self.lines


def _clock(step: float) -> object:
    now = [0.0]

    def read() -> float:
        now[0] += step
        return now[0]

    return read


def test_energy_per_row_is_mean_power_by_time_over_rows() -> None:
    sampler = Recorded([f"RAM 1/2MB VDD_IN {mw}mW/5000mW" for mw in (4000, 5000, 6000, 5000, 5000)] + ["no power"])
    calls: list[bool] = []
    found = energy(
        lambda: calls.append(sampler.running), 32, sampler, _milliwatts, clock=_clock(0.5), seconds=2.0  # type: ignore[arg-type]
    )  # fmt: skip
    assert found is not None
    assert calls == [False, True, True, True]  # the first one is no part of it
    assert (found.mean_w, found.samples, found.seconds) == (5.0, 5, 2.0)
    assert found.per_row_j == pytest.approx(5.0 * 2.0 / (3 * 32))


def test_too_few_readings_are_no_figure() -> None:
    sampler = Recorded(["VDD_IN 4000mW/4000mW"] * 4)
    assert energy(lambda: None, 1, sampler, _milliwatts, clock=time.perf_counter, seconds=0.01) is None


def test_a_call_that_fails_stops_the_sampler() -> None:
    sampler = Recorded([])

    def fail() -> None:
        if sampler.running:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        energy(fail, 1, sampler, _milliwatts, clock=time.perf_counter, seconds=1.0)
    assert not sampler.running


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called tegrastats on PATH: a line every 10 ms, and its arguments."""
    program = tmp_path / "bin" / "tegrastats"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile :; do echo "$@ RAM 1/2MB VDD_IN 4500mW/4400mW"; sleep 0.01; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


def test_tegrastats_is_started_asked_for_100_ms_and_ended(fake: Path) -> None:
    sampler = Tegrastats(str(fake))
    sampler.start()
    process = sampler._process
    assert process is not None
    time.sleep(0.2)
    lines = sampler.stop()
    assert process.poll() is not None
    assert 3 <= len(lines) <= 25
    assert set(lines) == {"--interval 100 RAM 1/2MB VDD_IN 4500mW/4400mW"}
    assert sampler.stop() == []


def test_without_tegrastats_there_is_no_sampler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_sampler() is None


def test_power_of_an_orin_is_that_of_its_input_rail() -> None:
    line = (
        "11-23-2026 10:00:00 RAM 2438/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) CPU [2%@729,0%@729,off,off] "
        "GR3D_FREQ 0% cpu@46.6C gpu@44.2C VDD_IN {}mW/4543mW VDD_CPU_GPU_CV 473mW/473mW VDD_SOC 1405mW/1405mW"
    )
    assert watts([line.format(4500), "RAM 2438/7620MB", line.format(5500)]) == [4.5, 5.5]
