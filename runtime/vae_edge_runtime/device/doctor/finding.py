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
    """

    level: Level
    subject: str
    what: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
