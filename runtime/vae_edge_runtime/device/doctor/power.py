"""Lines of ``tegrastats``, a Jetson's own monitor, to power.

Written from NVIDIA's description of its output; not checked on a board.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]{2,31}) (\d{1,7})mW(?:/(\d{1,7})mW)?")
_WHOLE = ("VDD_IN", "POM_5V_IN")
"""Rails that feed the whole module. An AGX Orin has none: its rails are parts, and which add up is not said."""


@dataclass(frozen=True)
class PowerSample:
    """One line.

    Attributes:
        rails: name to power at that moment, in watts. total_w: of the whole module; None where no rail is that.
    """

    rails: Mapping[str, float]
    total_w: float | None


def read_power(lines: Iterable[str]) -> list[PowerSample]:
    """Samples of the lines that hold any rail; other lines are left out."""
    samples = []
    for line in lines:
        rails = {name: int(now) / 1000 for name, now, _ in _RAIL.findall(line)}
        if rails:
            total = next((rails[name] for name in _WHOLE if name in rails), None)
            samples.append(PowerSample(rails, total))
    return samples
