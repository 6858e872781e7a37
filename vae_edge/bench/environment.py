"""What a measurement was made on. Everything is read, nothing is set; what cannot be read is None."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vae_edge_runtime.device.machine import cpu_model, usable_cores

_CPU = "/sys/devices/system/cpu/cpu0/cpufreq"
_GPU = "/sys/class/devfreq"
_BUSY = 0.5
"""Load per core above which other work is likely to be measured too."""


class Machine(Protocol):
    """Where readings come from."""

    def text(self, path: str) -> str | None:
        """Content of a file; None where it cannot be read."""
        ...

    def names(self, folder: str) -> tuple[str, ...]:
        """Entries of a folder, sorted; none where it cannot be read."""
        ...

    def output_of(self, *command: str) -> str | None:
        """What a command prints; None where it is absent, fails or hangs."""
        ...


class ThisMachine:
    """The machine this process runs on."""

    def text(self, path: str) -> str | None:
        """Content of a file."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def names(self, folder: str) -> tuple[str, ...]:
        """Entries of a folder."""
        try:
            return tuple(sorted(entry.name for entry in Path(folder).iterdir()))
        except OSError:
            return ()

    def output_of(self, *command: str) -> str | None:
        """What a command prints within 5 s."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False, errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Jetson:
    """State of a Jetson board. The readers were written from documentation, not checked on a board.

    Attributes:
        l4t: first line of ``/etc/nv_tegra_release``. power_mode: that of ``nvpmodel -q``.
        gpu_hz, gpu_max_hz: clock of the GPU at the start, and the highest it may take.
    """

    l4t: str
    power_mode: str | None
    gpu_hz: int | None
    gpu_max_hz: int | None


@dataclass(frozen=True)
class Environment:
    """The machine, its state at the start, and the software that ran.

    Attributes:
        cores: of the machine; usable_cores: those this process may run on.
        governor: of the first core. cpu_hz, cpu_max_hz: its clock at the start, and the highest it may take.
        load_average: of 1, 5 and 15 minutes, before the measurement.
        engine: name and version; providers: what ran, per device.
    """

    architecture: str
    system: str
    board: str | None
    cpu: str | None
    cores: int | None
    usable_cores: int | None
    governor: str | None
    cpu_hz: int | None
    cpu_max_hz: int | None
    load_average: tuple[float, float, float] | None
    python: str
    numpy: str
    engine: str
    providers: dict[str, str]
    jetson: Jetson | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @property
    def is_loaded(self) -> bool:
        """Whether the load average of the last minute was above half the cores."""
        return bool(self.load_average and self.cores and self.load_average[0] > _BUSY * self.cores)

    def __str__(self) -> str:
        load = "unknown" if self.load_average is None else f"{self.load_average[0]:.2f}"
        mode = "" if self.jetson is None else f", power mode {self.jetson.power_mode or 'unknown'}"
        return (
            f"{self.board or self.cpu or 'unknown CPU'}, {self.architecture}, {self.usable_cores or 'unknown'} of "
            f"{self.cores or 'unknown'} cores, governor {self.governor or 'unknown'}, load {load}{mode}; "
            f"{self.system}, Python {self.python}, numpy {self.numpy}, {self.engine}"
        )


def environment(
    machine: Machine, *, engine: str, providers: dict[str, str], load: tuple[float, float, float] | None
) -> Environment:
    """Read what there is to read; ``load`` was read before any work of ours."""
    board = machine.text("/proc/device-tree/model")
    return Environment(
        architecture=platform.machine(),
        system=platform.platform(terse=True),
        board=board.rstrip("\0\n") if board else None,
        cpu=cpu_model(machine.text("/proc/cpuinfo") or "") or platform.processor() or None,
        cores=os.cpu_count(),
        usable_cores=usable_cores(),
        governor=_line(machine.text(f"{_CPU}/scaling_governor")),
        cpu_hz=_hertz(machine.text(f"{_CPU}/scaling_cur_freq"), 1000),
        cpu_max_hz=_hertz(machine.text(f"{_CPU}/scaling_max_freq"), 1000),
        load_average=load,
        python=platform.python_version(),
        numpy=np.__version__,
        engine=engine,
        providers=providers,
        jetson=_jetson(machine),
    )


def load_average() -> tuple[float, float, float] | None:
    """Of 1, 5 and 15 minutes; None on Windows."""
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None


def power_mode(text: str) -> str | None:
    """The mode in what ``nvpmodel -q`` prints, such as ``NV Power Mode: MAXN`` and its number."""
    match = re.search(r"NV Power Mode:[ \t]*(\S.*)", text)
    return match.group(1).strip() if match else None


def _jetson(machine: Machine) -> Jetson | None:
    release = machine.text("/etc/nv_tegra_release")
    if release is None:
        return None
    gpu = next((name for name in machine.names(_GPU) if re.search(r"gpu|ga10b|gv11b|gb10b", name)), None)
    return Jetson(
        l4t=release.split("\n")[0].lstrip("# ").strip(),
        power_mode=power_mode(machine.output_of("nvpmodel", "-q") or ""),
        gpu_hz=_hertz(machine.text(f"{_GPU}/{gpu}/cur_freq"), 1) if gpu else None,
        gpu_max_hz=_hertz(machine.text(f"{_GPU}/{gpu}/max_freq"), 1) if gpu else None,
    )


def _line(text: str | None) -> str | None:
    return text.strip() or None if text is not None else None


def _hertz(text: str | None, unit: int) -> int | None:
    """A whole number of a file of /sys, in ``unit`` Hz."""
    plain = (text or "").strip()
    return int(plain) * unit if plain.isascii() and plain.isdigit() else None
