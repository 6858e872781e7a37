"""What doctor says of planted boards, containers and users: written from documents, not from boards."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from test_doctor import ALL_PROVIDERS, X86

from vae_edge_runtime.device.doctor import Finding, Readings, findings, readings
from vae_edge_runtime.device.doctor.board import (
    PowerModes,
    in_container,
    parse_nvpmodel_conf,
    parse_nvpmodel_status,
    parse_wheel_tag,
)
from vae_edge_runtime.device.doctor.jetson import BOARDS, RELEASES, RULES
from vae_edge_runtime.device.doctor.readings import Gpu, Module
from vae_edge_runtime.device.machine import is_tegra_kernel

ORIN_NANO_SUPER = """
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""
ORIN_NANO = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n< PM_CONFIG DEFAULT=0 >\n"
AGX_ORIN = (
    "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MODE_15W >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n"
    "< POWER_MODEL ID=3 NAME=MODE_50W >\n"
)


def jetson(board: str, l4t: str, python: tuple[int, int], trt: str | None, gpu: str, sm: str, **more: Any) -> Readings:
    fields = {
        "machine": "aarch64",
        "board": board,
        "l4t": l4t,
        "python": python,
        "system_packages": True,
        "kernel": "5.15.148-tegra",
        "user": 1000,
        "groups": ("video", "render"),
        "distributions": {"onnxruntime": "1.23.2"},
        "modules": {
            "numpy": Module("1.26.4"),
            "onnxruntime": Module("1.23.2", providers=ALL_PROVIDERS[-1:]),
            "tensorrt": Module(trt),
        },
        "gpu": Gpu("12.6", gpu, sm, 8 << 30),
    }
    return dataclasses.replace(X86, **{**fields, **more})


NANO_SUPER = jetson(
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "36.4.7", (3, 10), "10.3.0", "Orin", "8.7",
    power_mode="25W", power_modes=PowerModes(parse_nvpmodel_conf(ORIN_NANO_SUPER), 1),
)  # fmt: skip
AGX = jetson(
    "NVIDIA Jetson AGX Orin Developer Kit", "36.4.3", (3, 10), "10.3.0", "Orin", "8.7",
    power_mode="MODE_30W", power_modes=PowerModes(parse_nvpmodel_conf(AGX_ORIN), 2),
)  # fmt: skip
THOR = jetson("NVIDIA Jetson AGX Thor Developer Kit", "38.2.0", (3, 12), "10.13.3", "NVIDIA Thor", "11.0")
XAVIER = jetson("NVIDIA Jetson Xavier NX Developer Kit", "35.4.1", (3, 10), "8.5.2", "Xavier", "7.2")
NANO = jetson("NVIDIA Jetson Nano Developer Kit", "32.7.4", (3, 10), None, "NVIDIA Tegra X1", "5.3")
CONTAINER = {"board": None, "l4t": None, "container": True, "power_mode": None, "power_modes": PowerModes({})}


def said(machine: Readings, subject: str, **fault: Any) -> Finding:
    """What is said of a subject, once."""
    (one,) = [f for f in findings(dataclasses.replace(machine, **fault)) if f.subject == subject]
    return one


@pytest.mark.parametrize(
    ("machine", "command"),
    [(NANO_SUPER, "sudo nvpmodel -m 2 (MAXN_SUPER)"), (AGX, "sudo nvpmodel -m 0 (MAXN)")],
    ids=["Orin Nano Super", "AGX Orin"],
)
def test_the_strongest_power_mode_is_that_of_the_board_and_not_number_0(machine: Readings, command: str) -> None:
    power = said(machine, "power")
    assert power.remedy == f"{command} gives the most power, then sudo jetson_clocks"
    best = machine.power_modes.strongest
    at_best = said(machine, "power", power_mode="it", power_modes=PowerModes(machine.power_modes.names, best))
    assert "nvpmodel" not in at_best.remedy
    assert "the strongest" in at_best.what


def test_an_orin_nano_without_maxn_takes_the_most_watts_and_unknown_names_are_not_guessed() -> None:
    assert PowerModes(parse_nvpmodel_conf(ORIN_NANO)).strongest == 0
    assert PowerModes({0: "CUSTOM", 1: "QUIET"}).strongest is None
    unknown = said(AGX, "power", power_modes=PowerModes({}))
    assert unknown.remedy.startswith("sudo nvpmodel -p --verbose lists the modes")
    assert "-m 0" not in unknown.remedy


@pytest.mark.parametrize(("machine", "newest"), [(XAVIER, "5.1"), (NANO, "4.6")], ids=["Xavier", "Nano"])
def test_boards_without_a_jetpack_6_are_not_told_to_flash_it(machine: Readings, newest: str) -> None:
    board = said(machine, "board")
    assert board.level == "error"
    assert f"JetPack {newest} is the last for it" in board.what
    text = " ".join(f"{f.what} {f.remedy}" for f in findings(machine))
    assert "flash" not in text
    assert "apt dist-upgrade" not in text


@pytest.mark.parametrize(
    ("l4t", "python", "level", "jetpack", "remedy"),
    [
        ("35.4.1", (3, 8), "error", "JetPack 5.1", "flash JetPack 6.2 or newer"),
        ("36.3.0", (3, 10), "warning", "JetPack 6.0", "write r36.4 for r36.3 in /etc/apt/sources.list.d/nvidia-l4t"),
        ("36.4.7", (3, 10), "ok", "JetPack 6.1 or 6.2", ""),
        ("36.5", (3, 10), "ok", "JetPack 6.2", ""),
        ("38.2.0", (3, 12), "ok", "JetPack 7.0 or 7.1", ""),
        ("39.2.0", (3, 12), "ok", "JetPack 7.2", ""),
        ("44.1", (3, 14), "note", "a release this version does not know", ""),
    ],
)
def test_each_release_is_known_by_its_number(
    l4t: str, python: tuple[int, int], level: str, jetpack: str, remedy: str
) -> None:
    board = said(AGX, "board", l4t=l4t, python=python)
    assert (board.level, remedy in board.remedy) == (level, True)
    assert jetpack in board.what


@pytest.mark.parametrize("machine", [NANO_SUPER, AGX, THOR], ids=["Orin Nano Super", "AGX Orin", "Thor"])
def test_a_board_in_a_container_is_still_a_jetson(machine: Readings) -> None:
    inside = dataclasses.replace(machine, **CONTAINER)
    assert inside.jetson
    board = said(inside, "board")
    assert board.level == "note"
    assert "-v /etc/nv_tegra_release" in board.remedy
    text = " ".join(f.remedy for f in findings(inside))
    assert "vae-edge[gpu]" not in text  # PyPI's wheel has no kernels for Orin and Thor
    assert "nvpmodel -m" not in text
    no_kernel_name = dataclasses.replace(inside, kernel="6.8.0-generic")
    assert no_kernel_name.jetson  # the GPU has the chip's name
    assert not dataclasses.replace(no_kernel_name, gpu=None).jetson
    pypi = findings(dataclasses.replace(inside, wheels={"onnxruntime-gpu": "manylinux_2_34_aarch64"}))
    assert [f.level for f in pypi if "no kernel image" in f.what] == ["error"]


def test_a_container_without_the_nvidia_runtime_is_told_to_take_it_and_not_to_install_jetpack() -> None:
    gpu = said(AGX, "GPU", **CONTAINER, gpu=None)
    assert (gpu.level, "--runtime nvidia" in gpu.remedy) == ("error", True)
    on_the_board = said(AGX, "GPU", gpu=None)
    assert on_the_board.remedy == "sudo apt install nvidia-jetpack, then restart"
    inside = {**CONTAINER, "gpu": None, "modules": {**AGX.modules, "tensorrt": Module(None)}}
    text = " ".join(f.remedy for f in findings(dataclasses.replace(AGX, **inside)))
    assert "nvidia-jetpack" not in text
    assert "apt install python3-libnvinfer" not in text
    assert "examples/jetson/Dockerfile" in text
    assert said(X86, "GPU", container=True).remedy == "with an NVIDIA GPU in the host: --gpus all"


@pytest.mark.parametrize("code", ["CUDA_ERROR_NO_DEVICE (100)", "CUDA_ERROR_UNKNOWN (999)"])
@pytest.mark.parametrize(
    "rights",
    [{"groups": ("users",)}, {"denied": ("/dev/nvmap",)}, {"user": 0, "denied": ("/dev/nvmap",), "groups": ()}],
)
def test_a_user_without_the_groups_of_the_gpu_is_told_which(code: str, rights: dict[str, Any]) -> None:
    gpu = said(AGX, "GPU", gpu=Gpu("12.6", error=f"cuInit: {code}"), **rights)
    assert gpu.level == "error"
    for word in ("usermod -aG video,render", "SupplementaryGroups=video render", "--group-add video"):
        assert word in gpu.remedy
    assert ("/dev/nvmap" in gpu.what) is ("denied" in rights)


def test_a_user_with_rights_or_root_is_told_something_else() -> None:
    for rights in ({}, {"user": 0, "groups": ()}):
        gpu = said(AGX, "GPU", gpu=Gpu("12.6", error="cuInit: CUDA_ERROR_NO_DEVICE (100)"), **rights)
        assert "usermod" not in gpu.remedy
        assert "dmesg" in gpu.remedy
    old = said(AGX, "GPU", gpu=Gpu("12.2", error="cuInit: CUDA_ERROR_INSUFFICIENT_DRIVER (35)"))
    assert "not newer than its host" in old.remedy


def test_a_build_of_ones_own_is_no_error_whatever_its_version() -> None:
    own = dataclasses.replace(
        THOR, distributions={"onnxruntime-gpu": "1.32.0"}, wheels={"onnxruntime-gpu": "linux_aarch64"},
        modules={**THOR.modules, "onnxruntime": Module("1.32.0", providers=ALL_PROVIDERS)},
    )  # fmt: skip
    assert [f for f in findings(own) if f.level in ("error", "warning")] == []


def test_every_rule_has_a_source_and_names_only_what_there_is() -> None:
    assert len(RULES) >= 20
    assert all(rule.source for rule in RULES)
    assert {rule.group for rule in RULES} == {"board", "python", "power", "gpu"}
    assert len(BOARDS) == 4
    assert [release.l4t for release in RELEASES] == sorted({r.l4t for r in RELEASES})
    from vae_edge_runtime.device.doctor.jetson import Facts

    for machine in (X86, NANO_SUPER, THOR, XAVIER, NANO, dataclasses.replace(AGX, **CONTAINER, gpu=None)):
        for rule in RULES:
            words = Facts(machine).words()
            assert rule.what.format(**words)
            assert rule.remedy.format(**words) is not None
    assert {f.source for f in findings(NANO_SUPER) if f.subject in ("board", "power", "GPU")} > {""} - {""}


def test_texts_of_a_boards_files_are_read() -> None:
    assert parse_nvpmodel_conf(ORIN_NANO_SUPER) == {0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"}
    assert (parse_nvpmodel_conf(None), parse_nvpmodel_status(None)) == ({}, None)
    assert parse_nvpmodel_status("pmode:0002") == 2
    assert parse_wheel_tag("Wheel-Version: 1.0\nTag: cp310-cp310-linux_aarch64\n") == "linux_aarch64"
    assert parse_wheel_tag("Tag: cp311-cp311-manylinux_2_34_aarch64\n") == "manylinux_2_34_aarch64"
    assert in_container(frozenset({"/.dockerenv"}), None)
    assert in_container(frozenset(), "0::/kubepods/besteffort/pod1")
    assert not in_container(frozenset(), "0::/init.scope")
    assert is_tegra_kernel("5.15.148-tegra")
    assert not is_tegra_kernel("6.8.0-45-generic")


def test_a_container_of_a_jetson_is_read_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/1/cgroup": "0::/docker/4f", "/var/lib/nvpmodel/status": "pmode:0001"}
    monkeypatch.setattr(readings, "_text", lambda path: files.get(str(path)))
    monkeypatch.setattr(readings, "_module", lambda *arguments: Module(None))
    monkeypatch.setattr(readings, "_gpu", lambda: None)
    monkeypatch.setattr(readings, "_output", lambda command: None)
    monkeypatch.setattr(readings, "kernel_release", lambda: "5.15.148-tegra")
    machine = readings.read_machine()
    assert (machine.jetson, machine.container, machine.board, machine.l4t) == (True, True, None, None)
    assert machine.power_modes.current == 1
    assert machine.user is not None
    files["/etc/nvpmodel.conf"] = AGX_ORIN
    assert readings.read_machine().power_mode == "MODE_15W"  # without nvpmodel, which a container lacks
