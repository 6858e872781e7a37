"""The real Python bindings of TensorRT over a C stub, each version in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FOLDER = os.environ.get("VAE_EDGE_GPU_STUBS")
"""Where ``make gpu-stubs`` put a folder for each version."""
VERSIONS = tuple(sorted(path.name for path in Path(FOLDER).iterdir())) if FOLDER else ("none",)
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")

Ask = Callable[[str], Any]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    if FOLDER is None:
        pytest.skip("make gpu-stubs installs the bindings")
    return str(request.param)


@pytest.fixture
def ask(version: str, tmp_path: Path) -> Ask:
    """Run a program where ``tensorrt`` is that version over the stub; gives what it prints as JSON."""
    assert FOLDER is not None
    bindings, libraries = Path(FOLDER) / version, tmp_path / "libraries"
    libraries.mkdir()
    logs = ["-DLOGS"] if version.startswith("10.") else []  # the logger of TensorRT 11 is laid out in another way
    for name in LIBRARIES:
        target = libraries / f"{name}.so.{version.split('.')[0]}"
        subprocess.run(["gcc", *logs, "-shared", "-fPIC", "-o", target, HERE / "nvinfer.c"], check=True)
    (tmp_path / "tensorrt.py").write_text(
        "import warnings\nwarnings.simplefilter('ignore')\n"
        "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    )
    path = [tmp_path, bindings, ROOT / "runtime", ROOT / "export", ROOT, ROOT / "tests" / "support"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "LD_LIBRARY_PATH": str(libraries),
        "VAE_EDGE_CACHE": str(tmp_path / "cache"),
    }

    def run(program: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
