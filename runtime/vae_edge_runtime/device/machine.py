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


def parse_meminfo(text: str | None) -> dict[str, int]:
    """Lines of /proc/meminfo to bytes."""
    sizes = re.findall(r"^(\w+):\s+(\d{1,15}) kB$", text or "", re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in sizes}


def available_memory() -> int | None:
    """Bytes that programs may still take without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return parse_meminfo(file.read()).get("MemAvailable")
    except OSError:
        return None


def l4t_release() -> str | None:
    """Release of Linux for Tegra, such as 36.4.3; None where this is no Jetson, ``unknown`` where it does not say.

    A container sees the kernel of its Jetson and not the file: there it is ``kernel 5.15.148-tegra``.
    """
    try:
        with open("/etc/nv_tegra_release", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return parse_tegra_release(file.read()) or "unknown"
    except OSError:
        release = kernel_release()
        return f"kernel {release}" if is_tegra_kernel(release) else None


def kernel_release() -> str:
    """Release of the kernel, which a container shares with its host; empty where the system does not say."""
    return os.uname().release if hasattr(os, "uname") else ""


def is_tegra_kernel(release: str) -> bool:
    """Whether a kernel is one of NVIDIA's for Jetsons: ``5.15.148-tegra``, ``6.8.12-1021-tegra``."""
    return release.endswith("-tegra")


def usable_cores() -> int | None:
    """Cores that this process may run on; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
