from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig

from vae_edge_runtime.backends.tensorrt import backend as backend
from vae_edge_runtime.backends.tensorrt import prepare


@pytest.fixture
def rig() -> Iterator[Rig]:
    """After the test nothing may be left of it on the GPU, and nothing forbidden have been done."""
    made = Rig()
    yield made
    gc.collect()
    made.close()
    assert made.cuda.violations == []
    assert made.cuda.leaks() == []


@pytest.fixture
def machine(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The rig as this machine."""
    monkeypatch.setenv("VAE_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(backend, "process_driver", rig.process_driver)
    monkeypatch.setattr(prepare, "process_driver", rig.process_driver)
    monkeypatch.setitem(sys.modules, "tensorrt", rig.trt)  # type: ignore[arg-type]
    return rig
