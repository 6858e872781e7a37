"""What is read of a machine, from recorded files and answers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.bench.environment import Environment, ThisMachine, environment, load_average, power_mode
from vae_edge_runtime.device.machine import cpu_model

ORIN_FILES = {
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "/proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\n",
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    "/sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
    "/sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
}


class Recorded:
    """A machine of recorded files, folders and answers."""

    def __init__(self, files: dict[str, str], answers: dict[tuple[str, ...], str] | None = None) -> None:
        self.files, self.answers = files, answers or {}

    def text(self, path: str) -> str | None:
        return self.files.get(path)

    def names(self, folder: str) -> tuple[str, ...]:
        inside = {path[len(folder) + 1 :].split("/")[0] for path in self.files if path.startswith(folder + "/")}
        return tuple(sorted(inside))

    def output_of(self, *command: str) -> str | None:
        return self.answers.get(command)


def _read(machine: Recorded) -> Environment:
    return environment(
        machine, engine="onnxruntime 1.23.2", providers={"cpu": "CPUExecutionProvider"}, load=(0.1, 0.2, 0.3)
    )


def test_a_jetson_says_its_mode_and_clocks() -> None:
    found = _read(Recorded(ORIN_FILES, {("nvpmodel", "-q"): "NV Power Mode: 15W\n0\n"}))
    assert found.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (found.governor, found.cpu_hz, found.cpu_max_hz) == ("schedutil", 729_600_000, 1_510_400_000)
    assert found.jetson is not None
    assert found.jetson.l4t.startswith("R36 (release), REVISION: 4.3")
    assert (found.jetson.power_mode, found.jetson.gpu_hz, found.jetson.gpu_max_hz) == ("15W", 306000000, 624750000)
    assert "power mode 15W" in str(found)


def test_a_jetson_that_does_not_answer_has_an_unknown_mode() -> None:
    found = _read(Recorded({"/etc/nv_tegra_release": "# R36 (release)\n"}))
    assert found.jetson is not None
    assert (found.jetson.power_mode, found.jetson.gpu_hz) == (None, None)
    assert "power mode unknown" in str(found)


def test_what_a_machine_does_not_say_is_none_and_shown_as_unknown() -> None:
    found = _read(Recorded({}))
    assert (found.board, found.governor, found.cpu_hz, found.jetson) == (None, None, None, None)
    assert "governor unknown" in str(found)


def test_this_machine_can_be_read() -> None:
    found = environment(ThisMachine(), engine="none", providers={}, load=load_average())
    assert found.cores is not None
    assert found.cores >= (found.usable_cores or 1) >= 1
    assert ThisMachine().output_of("a-command-that-does-not-exist") is None
    assert ThisMachine().text("/nowhere") is None
    assert ThisMachine().names("/nowhere") == ()


@pytest.mark.parametrize(("load", "cores", "loaded"), [(1.01, 2, True), (1.0, 2, False), (2.5, 4, True)])
def test_a_machine_is_loaded_above_half_its_cores(load: float, cores: int, loaded: bool) -> None:
    found = dataclasses.replace(_read(Recorded({})), load_average=(load, 0.0, 0.0), cores=cores)
    assert found.is_loaded is loaded


def test_without_a_load_average_nothing_is_called_loaded() -> None:
    assert dataclasses.replace(_read(Recorded({})), load_average=None).is_loaded is False


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nmodel name\t: other\n", "AMD EPYC"),
        ("Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n", "Raspberry Pi 4 Model B Rev 1.4"),
        ("processor\t: 0\nBogoMIPS\t: 62.50\n", None),
        ("model name\t:\nflags\t: fpu\n", None),
    ],
)
def test_the_name_of_a_cpu_is_read_from_cpuinfo(text: str, name: str | None) -> None:
    assert cpu_model(text) == name


@given(st.text())
def test_no_text_breaks_a_reader(text: str) -> None:
    found = _read(Recorded(dict.fromkeys(ORIN_FILES, text), {("nvpmodel", "-q"): text}))
    assert found.cpu_hz is None or found.cpu_hz >= 0
    assert power_mode(text) is None or "NV Power Mode:" in text
