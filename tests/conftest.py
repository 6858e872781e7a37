from __future__ import annotations

import sys
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


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBundle:
    """A bundle that is not written yet: change members or manifest, then ``write()``."""
    return TinyBundle(tmp_path / "tiny.vaeb")


@pytest.fixture
def tiny_path(tiny: TinyBundle) -> Path:
    """The file of a bundle in which nothing is wrong."""
    return tiny.write()
