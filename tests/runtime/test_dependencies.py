"""Engines are imported with their telemetry off, unless the user asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vae_edge_runtime.dependencies import require, silence_engines, telemetry

NAME = "ORT_DISABLE_TELEMETRY"


def test_the_variable_is_set_before_an_engine_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_engine.py").write_text(f"import os\nseen = os.environ.get({NAME!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(NAME, raising=False)
    assert require("fake_engine", extra=None, why="a test").seen == "1"
    assert os.environ[NAME] == "1"  # and children inherit it
    assert telemetry()["onnxruntime"] == "off"


def test_a_value_that_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "0")
    silence_engines()
    assert os.environ[NAME] == "0"
    assert telemetry()["onnxruntime"] == "on"


def test_an_engine_imported_before_is_told_by_its_own_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    calls: list[str] = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("off"))
    require("onnxruntime", extra="cpu", why="a test")
    assert calls == ["off"]
    monkeypatch.setenv(NAME, "0")
    require("onnxruntime", extra="cpu", why="a test")
    assert calls == ["off"]


@pytest.mark.parametrize(("answer", "hidden"), [(None, True), ("0", True), ("1", False)])
def test_openvino_does_not_find_its_reporter_unless_the_user_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, hidden: bool
) -> None:
    home, packages = tmp_path / "home", tmp_path / "packages"
    (home / "intel").mkdir(parents=True)
    packages.mkdir()
    if answer is not None:
        (home / "intel" / "openvino_telemetry").write_text(answer)
    (packages / "openvino_telemetry.py").write_text("")
    text = "try:\n    import openvino_telemetry\n    found = True\nexcept ImportError:\n    found = False\n"
    (packages / "openvino.py").write_text(text)
    program = (
        "from vae_edge_runtime.dependencies import require, telemetry\n"
        "print(require('openvino', extra=None, why='x').found, telemetry()['openvino'])\n"
        "import openvino_telemetry"  # who asks for it afterwards gets it
    )
    path = os.pathsep.join([str(packages), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOME": str(home), "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(not hidden), "off" if hidden else "on"], done.stderr
    assert done.returncode == 0


def test_info_says_that_telemetry_is_off(tiny_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shell

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(NAME, raising=False)
    assert "telemetry         onnxruntime off, openvino off\n" in shell.run("info", tiny_path).out
    assert shell.run("info", tiny_path, "--json").json()["telemetry"] == {"onnxruntime": "off", "openvino": "off"}
