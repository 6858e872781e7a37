"""What is read about the CPU by all who measure or remember something of it."""

from __future__ import annotations

import os
import re


def cpu_model(cpuinfo: str) -> str | None:
    """The name of the CPU in the text of ``/proc/cpuinfo``: ``model name`` of x86, ``Model`` of small ARM boards."""
    found = re.search(r"^(?:model name|Model)[ \t]*:[ \t]*(\S.*)$", cpuinfo, flags=re.MULTILINE)
    return found[1].strip() if found else None


def usable_cores() -> int | None:
    """Cores that this process may run on; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
