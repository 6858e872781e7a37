"""The real wheel onnxruntime-gpu on a machine without a GPU: what it lists, and what our errors say. Opt-in, 256 MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("VAE_EDGE_ORT_GPU")
pytestmark = [
    pytest.mark.gpu_stubs,
    pytest.mark.skipif(FOLDER is None, reason="make ort-gpu installs onnxruntime-gpu"),
]
PROGRAM = """
import json, pathlib, tempfile
from tiny_bundle import TinyBundle
from vae_edge_runtime import ProviderUnavailable, load
path = TinyBundle(pathlib.Path(tempfile.mkdtemp()) / "tiny.vaeb").write()
errors = {}
for device in ("cuda", "cuda-tf32", "tensorrt"):
    try:
        load(path, device=device)
    except ProviderUnavailable as error:
        errors[device] = str(error)
with load(path) as vae:
    info = vae.info
print(json.dumps([errors, info.engine_version, info.device, info.degraded_reason]))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    path = [FOLDER, ROOT / "runtime", ROOT / "export", ROOT, ROOT / "tests" / "support"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_each_device_names_the_library_that_the_system_does_not_find(told: Any) -> None:
    errors, *_ = told
    assert set(errors) == {"cuda", "cuda-tf32", "tensorrt"}
    for device, text in errors.items():
        assert f"lists '{device}' and could not start it (libcu" in text
        assert "cannot open shared object file" in text
        assert 'pip install --upgrade "vae-edge[gpu]"' in text


def test_auto_runs_on_the_cpu_and_says_why(told: Any) -> None:
    _, version, device, reason = told
    assert (version[:2], device) == ("1.", "cpu")
    assert "cannot open shared object file" in reason
