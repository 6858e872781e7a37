from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))  # the folders share one tiny bundle

from tiny_bundle import TinyBundle


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBundle:
    """A bundle that is not written yet: change members or manifest, then ``write()``."""
    return TinyBundle(tmp_path / "tiny.vaeb")


@pytest.fixture
def tiny_path(tiny: TinyBundle) -> Path:
    """The file of a bundle in which nothing is wrong."""
    return tiny.write()
