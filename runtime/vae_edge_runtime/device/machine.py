"""What is read about the CPU by all who measure or remember something of it."""

from __future__ import annotations

import os
import re


def cpu_model(cpuinfo: str) -> str | None:
    """The name of the CPU in the text of ``/proc/cpuinfo``: ``model name`` of x86, ``Model`` of small ARM boards."""
    match = re.search(r"^(?:model name|Model)[ \t]*:[ \t]*(\S.*)$", cpuinfo, flags=re.MULTILINE)
    return match[1].strip() if match else None


def parse_tegra_release(text: str | None) -> str | None:
    """``# R36 (release), REVISION: 4.3, ...`` to 36.4.3."""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text or "")
    return f"{match[1]}.{match[2]}".rstrip(".") if match else None


def l4t_release() -> str | None:
    """Release of Linux for Tegra, such as 36.4.3; None where this is no Jetson, ``unknown`` where it does not say."""
    try:
        with open("/etc/nv_tegra_release", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return parse_tegra_release(file.read()) or "unknown"
    except OSError:
        return None


def usable_cores() -> int | None:
    """Cores that this process may run on; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
