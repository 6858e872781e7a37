"""What gets installed, and what it does in an environment with nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"vae_edge", "vae_edge_export", "vae_edge_runtime"}


def _run(*command: str | Path, cwd: Path, **variables: str) -> str:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**keep, **variables},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    skip = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=skip)
    shutil.copy(ROOT / ".gitignore", source)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "out", cwd=source)
    (built,) = (folder / "out").iterdir()
    return built


def _files_of(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.is_file()]


def test_the_wheel_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - PACKAGES
    assert tops - {info} == PACKAGES
    assert info.endswith(".dist-info")
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert f"{info}/licenses/LICENSE" in names
    strangers = [name for name in names if not name.startswith(info) and not name.endswith((".py", "py.typed"))]
    cpp = {f"vae_edge_runtime/cpp/{path.relative_to(ROOT / 'runtime' / 'cpp')}" for path in _files_of("runtime/cpp")}
    assert "vae_edge_runtime/cpp/include/vae_edge.h" in cpp
    report = {"vae_edge/report/page.html.j2", "vae_edge/report/texts/en.json"}
    assert set(strangers) == cpp | report  # libvaeedge as source, and the page of vae-edge report


def test_the_wheel_holds_every_module_of_the_tree(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    roots = {"vae_edge": ROOT, "vae_edge_export": ROOT / "export", "vae_edge_runtime": ROOT / "runtime"}
    expected = {
        path.relative_to(root).as_posix() for package, root in roots.items() for path in (root / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == expected


def test_the_wheel_is_as_large_as_the_readme_says(wheel: Path) -> None:
    (said,) = re.findall(r"wheel of vae-edge itself has ([\d.]+) MB", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert wheel.stat().st_size / 1e6 == pytest.approx(float(said), rel=0.15)


def test_only_numpy_is_required_and_no_extra_brings_an_engine_unasked(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
    lines = archive.read(name).decode().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist")]
    assert [line for line in required if "extra ==" not in line] == ["numpy>=1.24"]
    assert "Requires-Python: >=3.10" in lines
    assert "License-Expression: Apache-2.0" in lines


def _clean_environment(folder: Path, *packages: str | Path, python: str | None = None) -> Path:
    """A new environment with these packages and their requirements only; the path of its Python."""
    if python is None:
        venv.create(folder, with_pip=True)
    else:
        _run(python, "-m", "venv", folder, cwd=folder.parent)
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = ROOT / "constraints.txt"
    _run(interpreter, "-m", "pip", "install", "-q", "-c", pins, *packages, cwd=folder.parent)
    return interpreter


NUMPY_ALONE = """
import importlib.metadata, sys
import vae_edge_runtime, vae_edge
installed = {d.name.lower() for d in importlib.metadata.distributions()} - {"pip", "setuptools", "wheel"}
assert installed == {"vae-edge", "numpy"}, installed
noise = vae_edge_runtime.standard_normal(4, seed=7)
assert noise.shape == (4,) and noise.dtype == "float32"
with vae_edge_runtime.Bundle.open(sys.argv[1]) as bundle:
    bundle.verify_members()
    assert bundle.manifest.model.name == "tiny"
try:
    vae_edge_runtime.load(sys.argv[1])
except vae_edge_runtime.MissingDependency as error:
    print(error)
"""

SCORES = """
import sys
import numpy as np
from vae_edge_runtime import load, verify
report = verify(sys.argv[1])
assert report.ok, report.to_dict()
with load(sys.argv[1], device="cpu") as vae:
    scores = vae.score(np.zeros((3, 4), np.float32)).score
    assert scores.shape == (3,) and np.isfinite(scores).all()
    assert vae.sample(2, seed=7).shape == (2, 4)
    engine = vae.info.engine_version
heavy = {"torch", "onnx", "onnxscript", "typer", "rich", "click", "PIL", "pyarrow", "safetensors"} & set(sys.modules)
assert not heavy, heavy
print("scored on", "%d.%d" % sys.version_info[:2], "with onnxruntime", engine)
"""


@pytest.fixture
def tiny_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small valid bundle."""
    from tiny_bundle import TinyBundle

    return TinyBundle(tmp_path / "tiny.vaeb").write()


@pytest.mark.slow
def test_without_extras_the_runtime_imports_with_numpy_alone(wheel: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    python = _clean_environment(tmp_path / "bare", wheel)
    said = _run(python, "-c", NUMPY_ALONE, tiny_bundle, cwd=tmp_path)
    assert 'pip install "vae-edge[cpu]"' in said
    command = python.parent / "vae-edge"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 3
    assert 'pip install "vae-edge[cli]"' in done.stderr


@pytest.mark.slow
def test_with_the_cpu_extra_a_bundle_scores_without_torch(wheel: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    python = _clean_environment(tmp_path / "cpu", f"{wheel}[cpu]")
    assert "scored on" in _run(python, "-c", SCORES, tiny_bundle, cwd=tmp_path)


def _python_310() -> str | None:
    """A Python 3.10 that runs, wherever this machine keeps it."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [shutil.which("python3.10"), *(str(p / "bin" / "python3.10") for p in sorted(versions.glob("3.10.*")))]
    for place in places:
        if place and subprocess.run([place, "--version"], capture_output=True).returncode == 0:
            return place
    return None


@pytest.mark.slow
def test_on_python_3_10_with_its_last_onnxruntime_a_bundle_scores(
    wheel: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    python = _python_310()
    if python is None:
        pytest.skip("NOT CHECKED: no python3.10 on this machine, the floor is held by ruff and mypy only")
    clean = _clean_environment(tmp_path / "floor", f"{wheel}[cpu]", python=python)
    assert "scored on 3.10 with onnxruntime 1.23.2" in _run(clean, "-c", SCORES, tiny_bundle, cwd=tmp_path)
