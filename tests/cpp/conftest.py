from __future__ import annotations

from pathlib import Path

import pytest
from building import BUILD, WARNINGS, absent, compiler, onnxruntime_library, shared_library
from c_runtime import CRuntime


@pytest.fixture(scope="session")
def cxx() -> str:
    found = compiler()
    if found is None:
        absent("no C++ compiler is installed: apt-get install g++")
    return found


@pytest.fixture(scope="session")
def library(cxx: str) -> Path:
    return shared_library(BUILD / "test", cxx, "-O1", *WARNINGS)


@pytest.fixture(scope="session")
def onnxruntime() -> Path:
    found = onnxruntime_library()
    if found is None:
        absent("this wheel of onnxruntime has no libonnxruntime.so")
    return found


@pytest.fixture(scope="session")
def runtime(library: Path, onnxruntime: Path) -> CRuntime:
    return CRuntime(library, onnxruntime)
