"""What is read about an NVIDIA Jetson, a container and this process's rights; each reader takes text."""

from __future__ import annotations

import re
from dataclasses import dataclass

PERMITTED_BY = ("video", "render")
"""Groups whose members may open a Jetson's GPU."""
DEVICE_FILES = ("/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/ctrl", "/dev/nvidia0", "/dev/nvidiactl")


@dataclass(frozen=True)
class PowerModes:
    """Power modes of a Jetson.

    Attributes:
        names: by the number that ``nvpmodel -m`` takes. current: number of the mode that is set; None: unknown.
    """

    names: dict[int, str]
    current: int | None = None

    @property
    def strongest(self) -> int | None:
        """Number of the mode with the most power; None where the names do not say.

        The numbers have no order: 0 is the most of an AGX Orin and the least but one of an Orin Nano Super.
        """
        ranked = {number: _power(name) for number, name in self.names.items()}
        best = max(ranked, key=lambda number: ranked[number], default=None)
        return best if best is not None and ranked[best] > 0 else None


NO_MODES = PowerModes({})


def _power(name: str) -> float:
    """MAXN_SUPER above MAXN, and both above any number of watts."""
    if name.upper().startswith("MAXN"):
        return 1e6 + len(name)
    match = re.search(r"(\d+)\s*W", name.upper())
    return float(match[1]) if match else 0.0


def parse_nvpmodel_conf(text: str | None) -> dict[int, str]:
    """Lines ``< POWER_MODEL ID=2 NAME=MAXN_SUPER >`` of /etc/nvpmodel.conf: name by number."""
    rows = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S+)\s*>", text or "", re.MULTILINE)
    return {int(number): name for number, name in rows}


def parse_nvpmodel_status(text: str | None) -> int | None:
    """``pmode:0002`` of /var/lib/nvpmodel/status to 2."""
    match = re.search(r"pmode:\s*(\d{1,4})", text or "")
    return int(match[1]) if match else None


def parse_nvpmodel(text: str | None) -> str | None:
    """``NV Power Mode: MAXN`` of ``nvpmodel -q`` to MAXN."""
    match = re.search(r"NV Power Mode:\s*(\S+)", text or "")
    return match[1] if match else None


def parse_wheel_tag(text: str | None) -> str | None:
    """Platform of a wheel from its file WHEEL: ``Tag: cp310-cp310-linux_aarch64`` to linux_aarch64."""
    match = re.search(r"^Tag:\s*[^-\s]+-[^-\s]+-(\S+)\s*$", text or "", re.MULTILINE)
    return match[1] if match else None


def in_container(files: frozenset[str], cgroup: str | None) -> bool:
    """Whether this process runs in a container.

    Args:
        files: which of ``CONTAINER_FILES`` exist. cgroup: text of /proc/1/cgroup.
    """
    return bool(files) or bool(re.search(r"docker|containerd|kubepods|libpod|lxc", cgroup or ""))


CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
