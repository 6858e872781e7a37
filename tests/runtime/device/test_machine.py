"""Threads within what control groups and affinity leave to a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vae_edge_runtime.backends import opening
from vae_edge_runtime.backends.base import DeviceOptions
from vae_edge_runtime.device import machine
from vae_edge_runtime.device.machine import cpu_quota, usable_threads

V1 = "4:memory:/a\n2:cpu,cpuacct:/docker/c1\n1:name=systemd:/docker/c1\n0::/"


def made(root: Path, cgroup: str, files: dict[str, str]) -> str:
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),  # in a container: its own group is the top
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/user.slice/app\n", {"user.slice/app/cpu.max": "max 100000", "user.slice/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000", "a/cpu.max": "800000 100000"}, 1.5),
        ("0::/../../c\n", {"cpu.max": "100000 100000"}, 1.0),
        (V1, {f"cpu,cpuacct/docker/c1/cpu.cfs_{name}_us": us for name, us in (("quota", "3\n"), ("period", "1"))}, 3.0),
        (V1, {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 2.0),
        (V1, {"cpu/docker/c1/cpu.cfs_quota_us": "-1\n", "cpu/docker/c1/cpu.cfs_period_us": "100000\n"}, None),
        ("1:cpuset:/\n", {"cpu.max": "100000 100000"}, None),
        ("rubbish\n::\n", {"cpu.max": "what 3"}, None),
    ],
)  # fmt: skip
def test_the_tightest_quota_on_the_way_up_counts(
    cgroup: str, files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(made(tmp_path, cgroup, files)) == cores


def test_no_control_groups_are_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("quota", "affinity", "threads"),
    [(None, 16, None), (None, None, None), (1.0, 16, 1), (0.5, 16, 1), (2.9, 16, 2), (8.0, 4, 4), (32.0, 16, None)],
)
def test_threads_are_whole_and_at_least_one(
    quota: float | None, affinity: int | None, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(machine, "usable_cores", lambda: affinity)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert usable_threads() == threads


@pytest.mark.parametrize(("asked", "threads"), [(None, 2), (7, 7)])
def test_a_session_starts_no_more_threads_than_the_quota_unless_asked(
    asked: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DeviceOptions] = []
    monkeypatch.setattr(opening, "usable_threads", lambda: 2)
    monkeypatch.setattr(
        "vae_edge_runtime.backends.ort.OrtBackend.__init__", lambda self, load, options: seen.append(options)
    )
    opening.open_backend("cpu", lambda graph: b"", allow_fallback=False, threads=asked)
    assert [options.threads for options in seen] == [threads]
