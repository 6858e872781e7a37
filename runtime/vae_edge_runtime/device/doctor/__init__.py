"""What this machine is, whether it can run bundles, and what to type where it cannot."""

from __future__ import annotations

from .engines import ready_devices
from .finding import Finding, Level
from .readings import Readings, read_machine
from .rules import findings

__all__ = ["Finding", "Level", "Readings", "findings", "read_machine", "ready_devices"]
