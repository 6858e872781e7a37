from __future__ import annotations

import sys
from pathlib import Path

import pytest
from building import BUILD, ROOT, WARNINGS, compiler, onnxruntime_library, shared_library

sys.path.append(str(ROOT / "tests" / "conformance"))

from c_runtime import CRuntime


@pytest.fixture(scope="session")
def cxx() -> str:
    found = compiler()
    if found is None:
        pytest.skip("no C++ compiler is installed: apt-get install g++")
    return found


@pytest.fixture(scope="session")
def library(cxx: str) -> Path:
    return shared_library(BUILD / "test", cxx, "-O1", *WARNINGS)


@pytest.fixture(scope="session")
def onnxruntime() -> Path:
    found = onnxruntime_library()
    if found is None:
        pytest.skip("this wheel of onnxruntime has no libonnxruntime.so")
    return found


@pytest.fixture(scope="session")
def runtime(library: Path, onnxruntime: Path) -> CRuntime:
    return CRuntime(library, onnxruntime)
