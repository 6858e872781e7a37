"""Findings about recorded machines: each planted fault is named, with what to type; a good machine has none."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime.__main__ import main
from vae_edge_runtime.device.doctor import Readings, findings, readings
from vae_edge_runtime.device.doctor.power import read_power
from vae_edge_runtime.device.doctor.readings import Gpu, Module, read_machine
from vae_edge_runtime.device.machine import parse_cpu_max, parse_tegra_release

X86 = Readings(
    machine="x86_64",
    system="Linux",
    os_name="Ubuntu 24.04 LTS",
    libc="glibc 2.39",
    bits=64,
    board=None,
    l4t=None,
    python=(3, 12),
    virtual_environment=True,
    system_packages=False,
    distributions={"onnxruntime": "1.32.0"},
    modules={
        "numpy": Module("2.4.6"),
        "onnxruntime": Module("1.32.0", providers=("CPUExecutionProvider",)),
        "tensorrt": Module(None),
    },
    gpu=None,
    power_mode=None,
    cpus=8,
    usable_cpus=8,
    cpu_quota=None,
    cpu_flags=("avx2", "avx512_vnni"),
    memory_bytes=16 << 30,
    available_bytes=8 << 30,
)
ALL_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
ORIN = dataclasses.replace(
    X86,
    machine="aarch64",
    os_name="Ubuntu 22.04.5 LTS",
    libc="glibc 2.35",
    board="NVIDIA Jetson Orin Nano Developer Kit",
    l4t="36.4.3",
    python=(3, 10),
    system_packages=True,
    distributions={"onnxruntime-gpu": "1.23.0", "tensorrt": "10.3.0"},
    modules={
        "numpy": Module("1.26.4"),
        "onnxruntime": Module("1.23.0", providers=ALL_PROVIDERS),
        "tensorrt": Module("10.3.0"),
    },
    gpu=Gpu("12.6", "Orin", "8.7", 8 << 30),
    power_mode="MAXN",
    cpus=6,
    usable_cpus=6,
    cpu_flags=("asimd",),
)
THOR = dataclasses.replace(ORIN, board="NVIDIA Jetson AGX Thor", l4t="39.2.0", python=(3, 12))


def modules(machine: Readings, **changed: Module) -> dict[str, Module]:
    return {**machine.modules, **changed}


@pytest.mark.parametrize("machine", [X86, ORIN, THOR], ids=["x86", "orin", "thor"])
def test_a_good_machine_has_no_warning_and_no_error(machine: Readings) -> None:
    assert [f for f in findings(machine) if f.level in ("warning", "error")] == []


ONLY_OPENVINO = dataclasses.replace(
    X86,
    distributions={"openvino": "2026.4.1"},
    modules=modules(X86, onnxruntime=Module(None), openvino=Module("2026.4.1")),
)


def test_openvino_alone_runs_bundles_and_auto_does_not_take_it() -> None:
    found = findings(ONLY_OPENVINO)
    assert [f for f in found if f.level == "error"] == []
    assert not [f for f in found if "no engine runs bundles" in f.what]
    (warning,) = [f for f in found if f.level == "warning"]
    assert warning.what == 'device="auto" has no engine here; openvino, openvino-bf16 have'
    assert warning.remedy == 'pass device="openvino", or pip install "vae-edge[cpu]"'


def test_engines_that_are_too_old_or_broken_or_without_a_gpu_run_nothing() -> None:
    unable = modules(
        X86, onnxruntime=Module("1.16.3", providers=ALL_PROVIDERS), openvino=Module("2023.1"), tensorrt=Module("10.3")
    )
    found = findings(dataclasses.replace(X86, modules=unable))
    told = [(f.level, f.what, f.remedy) for f in found if f.subject == "devices"]
    assert told == [("error", "no engine runs bundles", 'pip install "vae-edge[cpu]"')]
    assert ("error", "OpenVINO", "2023.1; vae-edge needs 2024.4") in [(f.level, f.subject, f.what) for f in found]
    broken = findings(dataclasses.replace(X86, modules=modules(X86, openvino=Module(None, "ImportError: x"))))
    assert ("warning", "OpenVINO", "ImportError: x") in [(f.level, f.subject, f.what) for f in broken]


NO_TRT = modules(ORIN, tensorrt=Module(None))
FAULTS: list[tuple[Readings, dict[str, Any], str, str, str]] = [
    (ORIN, {"l4t": "35.4.1", "python": (3, 8)}, "error", "JetPack 5", "flash JetPack 6.2"),
    (ORIN, {"l4t": "36.3.0"}, "warning", "TensorRT is 8.6", "dist-upgrade"),
    (ORIN, {"python": (3, 12)}, "warning", "of Python 3.10", "python3.10 -m venv --system-site-packages"),
    (ORIN, {"modules": NO_TRT, "system_packages": False}, "error", "does not see", "--system-site-packages"),
    (ORIN, {"modules": NO_TRT}, "error", "not installed", "apt install python3-libnvinfer"),
    (ORIN, {"modules": modules(ORIN, tensorrt=Module("8.6.2"))}, "error", "engines need 10.3", "JetPack 6.1"),
    (
        ORIN,
        {"modules": modules(ORIN, tensorrt=Module(None, "ImportError: libnvdla_compiler.so: cannot open"))},
        "error",
        "libnvdla_compiler.so",
        "host's release",
    ),
    (ORIN, {"wheels": {"onnxruntime-gpu": "manylinux_2_34_aarch64"}}, "error", "no kernel image", "NVIDIA's wheel"),
    (ORIN, {"gpu": None}, "error", "no CUDA driver", "nvidia-jetpack"),
    (
        ORIN,
        {"gpu": Gpu("12.6", error="cuInit: CUDA_ERROR_NO_DEVICE (100)")},
        "warning",
        "NO_DEVICE",
        "--runtime nvidia",
    ),
    (X86, {"distributions": {"onnxruntime": "1", "onnxruntime-gpu": "1"}}, "error", "overwrite", "pip uninstall"),
    (X86, {"modules": modules(X86, onnxruntime=Module(None))}, "error", "no engine", "vae-edge[cpu]"),
    (X86, {"modules": modules(X86, onnxruntime=Module(None, "ImportError: x"))}, "error", "ImportError", "--force"),
    (X86, {"modules": modules(X86, onnxruntime=Module("1.16.3"))}, "error", "needs 1.17", "--upgrade onnxruntime"),
    (X86, {"modules": modules(X86, numpy=Module("1.23.5"))}, "error", "needs 1.24", "--upgrade numpy"),
    (X86, {"modules": modules(X86, numpy=Module(None))}, "error", "not installed", "pip install numpy"),
    (
        X86,
        {"modules": modules(X86, onnxruntime=Module("1.32", providers=ALL_PROVIDERS))},
        "warning",
        "lists CUDA",
        "pip",
    ),
    (X86, {"gpu": Gpu("13.0", "RTX", "8.9", 1)}, "note", "a build for the CPU beside RTX", "vae-edge[gpu]"),
    (X86, {"libc": "musl"}, "error", "musl", "Debian"),
    (X86, {"bits": 32}, "error", "32-bit", "64-bit"),
    (X86, {"python": (3, 9)}, "error", "needs 3.10", "Python 3.10"),
    (X86, {"cpu_flags": ("asimd",)}, "warning", "no AVX2", ""),
    (X86, {"cpu_flags": ("avx2",)}, "note", "VNNI", "tune"),
    (X86, {"cpu_quota": 2.0}, "note", "2 of them usable", "threads=2"),
    (X86, {"usable_cpus": 3}, "note", "3 of them usable", "threads=3"),
    (X86, {"available_bytes": 100 << 20}, "warning", "100 MiB", "swap"),
]


@pytest.mark.parametrize(("machine", "fault", "level", "what", "remedy"), FAULTS)
def test_every_planted_fault_is_named_with_its_remedy(
    machine: Readings, fault: dict[str, Any], level: str, what: str, remedy: str
) -> None:
    before = {(f.level, f.subject, f.what) for f in findings(machine)}
    new = [f for f in findings(dataclasses.replace(machine, **fault)) if (f.level, f.subject, f.what) not in before]
    assert [f for f in new if f.level == level and what in f.what and remedy in f.remedy], new


def test_texts_of_real_files_are_read() -> None:
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
    assert parse_tegra_release(release) == "36.4.3"
    assert readings.parse_nvpmodel("NV Power Mode: MAXN_SUPER\n2\n") == "MAXN_SUPER"
    assert readings.parse_meminfo("MemTotal:  100 kB\nMemAvailable: 7 kB\n")["MemAvailable"] == 7 * 1024
    assert readings.parse_os_release('NAME="x"\nPRETTY_NAME="Debian 12"\n') == "Debian 12"
    assert readings.parse_pyvenv("home = /usr\ninclude-system-site-packages = true\n")
    assert not readings.parse_pyvenv("include-system-site-packages = false\n")
    assert parse_cpu_max("150000 100000\n") == 1.5
    assert parse_cpu_max("max 100000\n") is None
    assert readings.parse_cpu_flags("flags : sse avx2 avx512_vnni\n") == ("avx2", "avx512_vnni")


@given(st.text() | st.none())
def test_no_text_breaks_a_reader(text: str | None) -> None:
    parse_tegra_release(text)
    parse_cpu_max(text)
    for name in ("nvpmodel", "meminfo", "os_release", "pyvenv", "cpu_flags"):
        getattr(readings, f"parse_{name}")(text)


@pytest.fixture
def _children() -> None:
    try:
        subprocess.run([sys.executable, "-c", ""], check=True)
    except OSError:
        pytest.skip("this machine starts no Python from Python: it is emulated")


@pytest.mark.usefixtures("_children")
def test_this_machine_is_read_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    machine = read_machine()
    assert machine.modules["onnxruntime"].version is not None
    assert "CPUExecutionProvider" in machine.modules["onnxruntime"].providers
    code = main(["doctor"])
    document = json.loads(capsys.readouterr().out)
    levels = {f["level"] for f in document["findings"]}
    assert code == (3 if "error" in levels else 0)
    assert document["readings"]["machine"] == machine.machine


@pytest.mark.usefixtures("_children")
def test_a_library_that_ends_its_process_does_not_end_the_doctor() -> None:
    found, problem = readings._ask("import os; os.abort()")
    assert found is None
    assert problem == "the import ended its process with signal 6"


def test_power_is_read_per_rail_and_summed_where_the_parts_are_known() -> None:
    orin_nano = "RAM 1/2MB GR3D_FREQ 0% cpu@46.6C VDD_IN 4500mW/4543mW VDD_CPU_GPU_CV 473mW/473mW VDD_SOC 1405mW/1405mW"
    agx = "VDD_GPU_SOC 2386mW/2386mW VDD_CPU_CV 795mW/795mW VIN_SYS_5V0 3834mW/3834mW"
    thor = "VIN 30112mW/30112mW VDD_GPU 4000mW/4000mW VDD_CPU_SOC_MSS 6000mW/6000mW VIN_SYS_5V0 5000mW/5000mW"
    samples = read_power([orin_nano, "no power here", agx, thor, "VDD_GPU_SOC 2386mW/2386mW VDD_CPU_CV 795mW/795mW"])
    assert samples[0].rails == {"VDD_IN": 4.5, "VDD_CPU_GPU_CV": 0.473, "VDD_SOC": 1.405}
    assert [sample.total_w for sample in samples] == [4.5, pytest.approx(7.015), 30.112, None]


@given(st.lists(st.text()))
def test_no_line_breaks_the_power_reader(lines: list[str]) -> None:
    assert all(watt >= 0 for sample in read_power(lines) for watt in sample.rails.values())


def test_a_module_of_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "ctypes", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("open('run', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    read_machine()
    assert not (tmp_path / "run").exists()
