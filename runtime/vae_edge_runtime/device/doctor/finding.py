"""One thing to say about a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing about this machine.

    Attributes:
        remedy: what to do about it; empty where there is nothing to do.
        source: where a rule about hardware was taken from; empty where it follows from this machine alone.
    """

    level: Level
    subject: str
    what: str
    remedy: str = ""
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
