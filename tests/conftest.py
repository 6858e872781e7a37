from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_bundle import TinyBundle

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The same random weights whatever ran before: a gate looks at how well a model fits, and few weights do not."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    leave_modules_out_of_collections()


def leave_modules_out_of_collections() -> None:
    """Tests that look for what is left behind collect garbage: 0.9 s each with the objects of PyTorch's modules."""
    global modules_left_out
    if len(sys.modules) > modules_left_out + 300:
        gc.collect()
        gc.freeze()
        modules_left_out = len(sys.modules)


modules_left_out = 0


@pytest.fixture(scope="session", autouse=True)
def a_disk_that_is_never_cut_off() -> Iterator[None]:
    """No waiting until each file is on the disk: thousands are written. Tests of fsync put their own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: None)
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBundle:
    """A bundle that is not written yet: change members or manifest, then ``write()``."""
    return TinyBundle(tmp_path / "tiny.vaeb")


@pytest.fixture
def tiny_path(tiny: TinyBundle) -> Path:
    """The file of a bundle in which nothing is wrong."""
    return tiny.write()
