from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))  # the folders share one tiny bundle,
sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))  # one shell,
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))  # and one way to add a variant

from second_variant import add_variant
from shell import Cli, run
from tiny_bundle import TinyBundle


@pytest.fixture(scope="session")
def cli() -> Cli:
    return run


@pytest.fixture
def pair_path(tmp_path: Path) -> Path:
    """A bundle with fp32, and an int8 whose decoder is 20 % off."""
    tiny = TinyBundle(tmp_path / "pair.vaeb")
    add_variant(tiny, "int8", factor=1.2)
    return tiny.write()
