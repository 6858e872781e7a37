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


def usable_threads() -> int | None:
    """Threads that affinity and the quota of the control groups leave to this process; None: as many as cores.

    An engine starts a thread per core that it sees. With 16 threads in a container of one CPU, the 99th percentile of
    latency was 64 to 166 ms, and 8 ms with one thread: the quota of a period is spent at once, then all threads wait.
    """
    limits = [limit for limit in (usable_cores(), cpu_quota()) if limit is not None]
    threads = max(1, int(min(limits, default=0)))
    return threads if limits and threads < (os.cpu_count() or 1) else None


def cpu_quota(root: str = "/") -> float | None:
    """Cores' worth of time that control groups (version 1 or 2) leave to this process; None where there is no limit."""
    quotas = [quota for folder, version in _cpu_groups(root) if (quota := _quota_of(folder, version)) is not None]
    return min(quotas, default=None)


def parse_cpu_max(text: str | None) -> float | None:
    """``200000 100000`` to 2.0 cores; None where there is no limit."""
    match = re.fullmatch(r"(\d{1,12}) (\d{1,12})\s*", text or "")
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def _cpu_groups(root: str) -> list[tuple[str, int]]:
    """Folders of this process's CPU groups with their version, from the innermost to the outermost."""
    folders = []
    for line in (_text_of(f"{root}/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        version, mounts = (1, (controllers, "cpu")) if controllers else (2, ("", "unified"))
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            top = "/".join(filter(None, (f"{root}/sys/fs/cgroup", mount)))
            # A container may see the path of its host and only its own group: then the folder on top is its group.
            folders += [("/".join((top, *parts[:depth])), version) for depth in range(len(parts), -1, -1)]
    return folders


def _quota_of(folder: str, version: int) -> float | None:
    if version == 2:
        return parse_cpu_max(_text_of(f"{folder}/cpu.max"))
    quota, period = _text_of(f"{folder}/cpu.cfs_quota_us"), _text_of(f"{folder}/cpu.cfs_period_us")
    return parse_cpu_max(f"{quota.strip()} {period.strip()}") if quota and period else None


def _text_of(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read(4096)
    except OSError:
        return None
