"""Energy of one cell on a Jetson: tegrastats runs beside calls without a pause, and is asked for nothing but lines."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Protocol

from vae_edge_runtime.device.doctor.power import read_power

from .report import Energy

INTERVAL_MS = 100
WATCH_SECONDS = 3.0
"""Per cell: some 30 samples."""
_FEWEST_SAMPLES = 5
_STOP_SECONDS = 5.0


class Sampler(Protocol):
    """Something that prints a line per sample while it runs."""

    def start(self) -> None:
        """Begin to sample."""
        ...

    def stop(self) -> list[str]:
        """End, and return the lines since ``start``."""
        ...


class Tegrastats:
    """``tegrastats --interval 100`` as a sampler."""

    def __init__(self, program: str) -> None:
        self._command = (program, "--interval", str(INTERVAL_MS))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def stop(self) -> list[str]:
        """End the process, and return what it printed."""
        if self._process is None:
            return []
        self._process.terminate()
        try:
            output, _ = self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        self._process = None
        return output.splitlines()


def find_sampler() -> Sampler | None:
    """The board's tegrastats; None on other machines."""
    program = shutil.which("tegrastats")
    return Tegrastats(program) if program else None


def energy(
    call: Callable[[], object],
    rows_per_call: int,
    sampler: Sampler,
    watts: Callable[[Sequence[str]], Sequence[float]],
    *,
    clock: Callable[[], float],
    seconds: float = WATCH_SECONDS,
) -> Energy | None:
    """Call without a pause while the sampler runs; None where it gave fewer than 5 readings.

    Args:
        call: of the cell; rows_per_call: its batch.
        sampler: what prints the lines.
        watts: power of the board per line that holds it.
        clock: seconds. seconds: how long.
    """
    call()
    sampler.start()
    calls, start = 0, clock()
    try:
        while (elapsed := clock() - start) < seconds:
            call()
            calls += 1
    finally:
        lines = sampler.stop()
    samples = list(watts(lines))
    if len(samples) < _FEWEST_SAMPLES or not calls:
        return None
    mean = sum(samples) / len(samples)
    return Energy(mean, mean * elapsed / (calls * rows_per_call), len(samples), elapsed)


def watts(lines: Sequence[str]) -> list[float]:
    """Power of the whole board, one figure per line of tegrastats that holds it."""
    return [sample.total_w for sample in read_power(lines) if sample.total_w is not None]
