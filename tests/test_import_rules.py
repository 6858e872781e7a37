"""What importing costs and needs: numpy on the device side, nothing heavy at the front door."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "sklearn",
    "scipy",
    "typer",
    "rich",
    "click",
    "PIL",
    "pyarrow",
    "safetensors",
    "matplotlib",
    "mlxtend",
)

BLOCKED = """
import json, sys

HEAVY = {heavy!r}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocked())
import numpy
before = set(sys.modules)
{body}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def _imports(body: str) -> list[str]:
    """Modules that ``body`` brings in after numpy, with every heavy package out of reach."""
    program = BLOCKED.format(heavy=HEAVY, body=body)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("package", ["vae_edge_runtime", "vae_edge"])
def test_import_works_without_any_optional_package(package: str) -> None:
    found = _imports(f"import {package}")
    assert package in found
    assert [name for name in found if name.split(".")[0] in HEAVY] == []


def test_importing_the_runtime_brings_in_few_modules() -> None:
    # 32 on Python 3.11 after numpy: 20 of ours, the rest small parts of the standard library.
    assert len(_imports("import vae_edge_runtime")) <= 50


def test_a_first_score_brings_in_nothing_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_bundle import TinyBundle

    path = TinyBundle(tmp_path / "tiny.vaeb").write()
    program = (
        "import sys, numpy as np, onnxruntime; before = set(sys.modules)\n"
        "from vae_edge_runtime import load\n"
        f"with load({str(path)!r}) as vae: vae.score(np.zeros((1, 4), np.float32))\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    found = set(done.stdout.split())
    assert "vae_edge_runtime.session" in found
    slow = {"numpy.ma", "numpy.random", "pathlib", "importlib.metadata", "tempfile", "subprocess", "inspect"}
    assert found & slow == set()


def test_the_front_door_brings_in_nothing_of_the_export_side() -> None:
    found = _imports("import vae_edge")
    assert [name for name in found if name.startswith("vae_edge_export")] == []


def test_a_missing_engine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_bundle import TinyBundle

    bundle = TinyBundle(tmp_path / "tiny.vaeb").write()
    _imports(
        f"""
import vae_edge_runtime
try:
    vae_edge_runtime.load({str(bundle)!r})
except vae_edge_runtime.MissingDependency as error:
    assert error.package == "onnxruntime" and error.exit_code == 3
    assert 'pip install "vae-edge[cpu]"' in str(error), error
else:
    raise SystemExit("load() worked without an engine")
"""
    )


def test_the_runtime_folder_alone_is_enough(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "runtime" / "vae_edge_runtime", tmp_path / "vae_edge_runtime")
    program = "import vae_edge_runtime as r; print(r.__file__, r.standard_normal(2, seed=7).tolist())"
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert "[1.13624" in done.stdout
