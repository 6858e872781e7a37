from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from second_variant import add_variant
from shell import Cli, run
from tiny_bundle import TinyBundle


@pytest.fixture(scope="session")
def cli() -> Cli:
    return run


@pytest.fixture
def pair_path(tmp_path: Path) -> Path:
    """A bundle with fp32, and an int8 whose decoder is 2 % off."""
    tiny = TinyBundle(tmp_path / "pair.vaeb")
    add_variant(tiny, "int8", factor=1.02)
    return tiny.write()


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """200 rows of 4 features with labels; the last 50 are twice as wide, and anomalies."""
    x = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    x[150:] *= 2
    np.savez(tmp_path / "labelled.npz", x=x, y=np.repeat([0, 1], (150, 50)))
    return tmp_path / "labelled.npz"
