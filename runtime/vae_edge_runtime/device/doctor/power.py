"""Lines of ``tegrastats``, a Jetson's own monitor, to power.

Written from NVIDIA's description of its output; not checked on a board.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]{2,31}) (\d{1,7})mW(?:/(\d{1,7})mW)?")
_WHOLE = (
    ("VIN",),  # AGX Thor: jetson_stats#900
    ("VDD_IN",),  # Orin Nano, Orin NX, Xavier NX
    ("POM_5V_IN",),  # Nano, TX2: jetson_stats#51
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin, whose parts add up: jetson_stats#344
)
"""Rails that together feed the whole module, the first row that a line has in full."""


@dataclass(frozen=True)
class PowerSample:
    """One line.

    Attributes:
        rails: name to power at that moment, in watts. total_w: of the whole module; None where the rails do not say.
    """

    rails: Mapping[str, float]
    total_w: float | None


def read_power(lines: Iterable[str]) -> list[PowerSample]:
    """Samples of the lines that hold any rail; other lines are left out."""
    samples = []
    for line in lines:
        rails = {name: int(now) / 1000 for name, now, _ in _RAIL.findall(line)}
        if rails:
            whole = next((names for names in _WHOLE if rails.keys() >= set(names)), None)
            total = None if whole is None else sum(rails[name] for name in whole)
            samples.append(PowerSample(rails, total))
    return samples
