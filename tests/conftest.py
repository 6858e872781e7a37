from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_bundle import TinyBundle

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(autouse=True)
def _models_with_random_weights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models of random weights through, which most tests export; those marked ``fit`` meet the gate as it is."""
    if importlib.util.find_spec("torch") and not request.node.get_closest_marker("fit"):
        monkeypatch.setattr("vae_edge_export.checks.fit.LEAST_R2", -math.inf)


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBundle:
    """A bundle that is not written yet: change members or manifest, then ``write()``."""
    return TinyBundle(tmp_path / "tiny.vaeb")


@pytest.fixture
def tiny_path(tiny: TinyBundle) -> Path:
    """The file of a bundle in which nothing is wrong."""
    return tiny.write()
