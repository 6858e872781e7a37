"""Rules about GPUs and Jetsons as data: when each holds, what it says, what to type, and where it was taken from.

Nothing here was checked on a Jetson. ``general knowledge`` marks what no page was read for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .board import PERMITTED_BY
from .finding import Finding, Level
from .readings import Readings


@dataclass(frozen=True)
class Release:
    """A release of Linux for Tegra. ``tensorrt`` has the types that engines need from 10.3 on."""

    l4t: str
    jetpack: str
    python: tuple[int, int]
    tensorrt: str


RELEASES = (
    Release("32", "JetPack 4", (3, 6), "8.2"),
    Release("34", "JetPack 5.0", (3, 8), "8.4"),
    Release("35", "JetPack 5.1", (3, 8), "8.5"),
    Release("36.3", "JetPack 6.0", (3, 10), "8.6"),
    Release("36.4", "JetPack 6.1 or 6.2", (3, 10), "10.3"),
    Release("36.5", "JetPack 6.2", (3, 10), "10.3"),
    Release("38", "JetPack 7.0 or 7.1", (3, 12), "10.13"),
    Release("39", "JetPack 7.2", (3, 12), "10.16"),
)
"""NVIDIA's release pages as of November 2026, written down in docs/jetson.md; of JetPack 4 general knowledge."""


@dataclass(frozen=True)
class Board:
    """A kind of board by a pattern of its name, and the newest JetPack that NVIDIA makes for it."""

    pattern: str
    newest: str


BOARDS = (
    Board(r"thor", "7"),
    Board(r"orin", "7"),
    Board(r"xavier", "5.1"),
    Board(r"tx2|tx1|jetson nano|nano developer kit", "4.6"),
)
"""The first row that fits: an Orin Nano is an Orin. NVIDIA's JetPack archive; general knowledge."""
_OLD = ("5.1", "4.6")


@dataclass(frozen=True)
class Facts:
    """What the rules ask of a machine, derived from what was read."""

    r: Readings

    @property
    def name(self) -> str:
        """Of the board; a container does not see its device tree, and the GPU has the chip's name."""
        if self.r.board:
            return self.r.board
        return f"an NVIDIA Jetson ({self.r.gpu.name})" if self.r.gpu and self.r.gpu.name else "an NVIDIA Jetson"

    @property
    def board(self) -> Board | None:
        """Its row."""
        return next((row for row in BOARDS if re.search(row.pattern, self.name.lower())), None)

    @property
    def release(self) -> Release | None:
        """Its row."""
        l4t = self.r.l4t or ""
        return next((row for row in RELEASES if l4t == row.l4t or l4t.startswith(f"{row.l4t}.")), None)

    @property
    def old_board(self) -> bool:
        """No JetPack of it has Python 3.10 and TensorRT 10."""
        return self.board is not None and self.board.newest in _OLD

    @property
    def old_tensorrt(self) -> bool:
        """Its release has a TensorRT without strong typing."""
        return self.release is not None and float(self.release.tensorrt) < 10

    @property
    def gpu_error(self) -> str:
        """Why the driver has no device; empty where it has one or there is no driver."""
        return (self.r.gpu.error or "") if self.r.gpu else ""

    @property
    def no_rights(self) -> bool:
        """Whether the user may not open the GPU's files, or is in none of their groups."""
        if self.r.denied:
            return True
        return self.r.user not in (None, 0) and not set(PERMITTED_BY) & set(self.r.groups)

    def words(self) -> dict[str, object]:
        """What the texts of rules name."""
        r, release, modes = self.r, self.release, self.r.power_modes
        best = modes.strongest
        gpu, memory = r.gpu, r.gpu.memory_bytes if r.gpu else None
        return {
            "board": self.name,
            "l4t": r.l4t or "unknown",
            "jetpack": release.jetpack if release else "an unknown JetPack",
            "newest": self.board.newest if self.board else "unknown",
            "tensorrt": release.tensorrt if release else "unknown",
            "wanted": ".".join(map(str, release.python)) if release else "",
            "python": ".".join(map(str, r.python)),
            "kernel": r.kernel,
            "mode": r.power_mode or "unknown",
            "best": best,
            "best_name": modes.names.get(best, "") if best is not None else "",
            "error": self.gpu_error,
            "denied": f" (no right to open {', '.join(r.denied)})" if r.denied else "",
            "gpu": gpu.name if gpu else None,
            "capability": gpu.capability if gpu else None,
            "memory": f", {memory / 2**30:.1f} GiB" if memory else "",
            "driver": gpu.driver if gpu else None,
        }


@dataclass(frozen=True)
class Rule:
    """One thing to say.

    Attributes:
        group: of its rules the first that applies is told. what, remedy: with names of ``Facts.words``.
        source: where it was taken from.
    """

    group: str
    level: Level
    subject: str
    applies: Callable[[Facts], bool]
    what: str
    remedy: str
    source: str


_RIGHTS = (
    "sudo usermod -aG video,render $USER and log in again; in a systemd unit SupplementaryGroups=video render; for a "
    "container --group-add video --group-add render"
)
_PAGES = "docs/jetson.md, from NVIDIA's release pages"

RULES = (
    Rule(
        "board", "error", "board", lambda f: f.r.jetson and f.old_board,
        "{board}, L4T {l4t}: JetPack {newest} is the last for it, and has neither Python 3.10 nor TensorRT 10",
        "take an Orin or a Thor; on this board bundles run on the CPU only, with a Python 3.10 from elsewhere",
        "NVIDIA's JetPack archive; general knowledge",
    ),
    Rule(
        "board", "error", "board",
        lambda f: f.r.jetson and f.release is not None and f.release.python < (3, 10),
        "{board}, L4T {l4t} ({jetpack}): it has Python {wanted} and TensorRT {tensorrt}",
        "flash JetPack 6.2 or newer: vae-edge needs Python 3.10, and TensorRT 10.3 for engines", _PAGES,
    ),
    Rule(
        "board", "warning", "board", lambda f: f.r.jetson and f.old_tensorrt and f.r.container,
        "{board}, L4T {l4t} ({jetpack}): its TensorRT is {tensorrt}",
        "update the host to JetPack 6.1 or newer; ONNX Runtime on the CPU works as it is", _PAGES,
    ),
    Rule(
        "board", "warning", "board", lambda f: f.r.jetson and f.old_tensorrt,
        "{board}, L4T {l4t} ({jetpack}): its TensorRT is {tensorrt}",
        "write r36.4 for r36.3 in /etc/apt/sources.list.d/nvidia-l4t-apt-source.list, then sudo apt update and sudo "
        "apt dist-upgrade, for TensorRT 10.3; ONNX Runtime on the CPU works as it is",
        "NVIDIA's page on updating JetPack with apt; general knowledge",
    ),
    Rule(
        "board", "ok", "board", lambda f: f.r.jetson and f.release is not None,
        "{board}, L4T {l4t}, {jetpack}", "", _PAGES,
    ),
    Rule(
        "board", "note", "board", lambda f: f.r.jetson and f.r.l4t is None and f.r.container,
        "{board}, in a container that does not show its release (kernel {kernel})",
        "docker run -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro shows it",
        "ultralytics#18449 and jetson-gpio#73: containers mask /proc/device-tree",
    ),
    Rule(
        "board", "note", "board", lambda f: f.r.jetson,
        "{board}, L4T {l4t}: a release this version does not know", "", _PAGES,
    ),
    Rule(
        "python", "warning", "Python",
        lambda f: f.r.jetson and not f.old_board and f.release is not None and f.release.python >= (3, 10)
        and f.r.python != f.release.python,
        "Python {python}, but {jetpack} and its TensorRT are of Python {wanted}",
        "python{wanted} -m venv --system-site-packages .venv", _PAGES,
    ),
    Rule(
        "power", "note", "power", lambda f: f.r.jetson and f.r.power_mode is None and f.r.container,
        "power mode unknown: a container does not see it", "on the board itself: sudo nvpmodel -q",
        "general knowledge",
    ),
    Rule(
        "power", "note", "power", lambda f: f.r.jetson and f.r.power_modes.strongest is None,
        "power mode {mode}", "sudo nvpmodel -p --verbose lists the modes; sudo jetson_clocks holds the clocks up",
        "general knowledge",
    ),
    Rule(
        "power", "note", "power",
        lambda f: f.r.jetson and f.r.power_modes.current is not None
        and f.r.power_modes.current == f.r.power_modes.strongest,
        "power mode {mode}, the strongest", "sudo jetson_clocks holds the clocks up while you measure",
        "/etc/nvpmodel.conf of the board",
    ),
    Rule(
        "power", "note", "power", lambda f: f.r.jetson,
        "power mode {mode}", "sudo nvpmodel -m {best} ({best_name}) gives the most power, then sudo jetson_clocks",
        "/etc/nvpmodel.conf of the board; numbers differ by board: nvpmodel_p3767_0003_super.conf, "
        "ark_jetson_kernel#20",
    ),
    Rule(
        "gpu", "error", "GPU", lambda f: f.r.gpu is None and f.r.jetson and f.r.container,
        "no CUDA driver in this container: bundles run on the CPU",
        "start it with --runtime nvidia (once on the host: sudo nvidia-ctk runtime configure --runtime=docker)",
        "NVIDIA Container Toolkit's installation guide; general knowledge",
    ),
    Rule(
        "gpu", "error", "GPU", lambda f: f.r.gpu is None and f.r.jetson,
        "no CUDA driver: bundles run on the CPU", "sudo apt install nvidia-jetpack, then restart", _PAGES,
    ),
    Rule(
        "gpu", "note", "GPU", lambda f: f.r.gpu is None and f.r.container,
        "no CUDA driver in this container: bundles run on the CPU", "with an NVIDIA GPU in the host: --gpus all",
        "general knowledge",
    ),
    Rule(
        "gpu", "note", "GPU", lambda f: f.r.gpu is None, "no CUDA driver: bundles run on the CPU", "", "cuda.h",
    ),
    Rule(
        "gpu", "error", "GPU", lambda f: bool(f.gpu_error) and f.r.jetson and f.no_rights,
        "this user may not use the GPU{denied}: {error}", _RIGHTS,
        "NemoClaw#5018, nvidia-docker#1449: /dev/nvmap is root:video",
    ),
    Rule(
        "gpu", "error", "GPU", lambda f: "INSUFFICIENT_DRIVER" in f.gpu_error or "(35)" in f.gpu_error,
        "the driver is older than the CUDA that asks for it: {error}",
        "update the driver; in a container take an image that is not newer than its host", "cuda.h, error 35",
    ),
    Rule(
        "gpu", "warning", "GPU", lambda f: bool(f.gpu_error) and f.r.jetson and f.r.container,
        "the CUDA driver is there and finds no device: {error}",
        "start the container with --runtime nvidia, of the L4T release of its host", "nvidia-docker#1449",
    ),
    Rule(
        "gpu", "warning", "GPU", lambda f: bool(f.gpu_error) and f.r.jetson,
        "the CUDA driver is there and finds no device: {error}",
        "restart the board; sudo dmesg | grep -i -e nvgpu -e nvmap says why. Containers need --runtime nvidia",
        "general knowledge",
    ),
    Rule(
        "gpu", "warning", "GPU", lambda f: bool(f.gpu_error),
        "the CUDA driver is there and finds no device: {error}",
        "check the driver with nvidia-smi; in a container start it with --gpus all", "general knowledge",
    ),
    Rule(
        "gpu", "ok", "GPU", lambda f: True,
        "{gpu}, SM {capability}{memory}, CUDA {driver}", "", "the driver itself",
    ),
)  # fmt: skip


def told(r: Readings, group: str) -> Iterator[Finding]:
    """The first rule of a group that applies, if there is one."""
    facts = Facts(r)
    for rule in RULES:
        if rule.group == group and rule.applies(facts):
            words = facts.words()
            yield Finding(
                rule.level, rule.subject, rule.what.format(**words), rule.remedy.format(**words), source=rule.source
            )
            return
