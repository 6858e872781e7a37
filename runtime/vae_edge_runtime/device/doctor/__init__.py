"""What this machine is, whether it can run bundles, and what to type where it cannot."""

from __future__ import annotations

from .findings import Finding, Level, findings
from .readings import Readings, read_machine

__all__ = ["Finding", "Level", "Readings", "findings", "read_machine"]
