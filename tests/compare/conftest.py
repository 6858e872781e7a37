from __future__ import annotations

from pathlib import Path

import pytest
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
