from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_bundle import TinyBundle

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


HAS_TORCH = importlib.util.find_spec("torch") is not None
LEAST_R2 = "vae_edge_export.checks.fit.LEAST_R2"


@pytest.fixture(autouse=True, scope="session")
def _models_of_random_weights() -> Iterator[None]:
    """Let models through that fit nothing: most tests export random weights."""
    with pytest.MonkeyPatch.context() as patch:
        if HAS_TORCH:
            patch.setattr(LEAST_R2, -math.inf)
        yield


@pytest.fixture(autouse=True)
def _models_that_must_fit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate as users meet it, for tests marked ``fit``."""
    if request.node.get_closest_marker("fit"):
        monkeypatch.setattr(LEAST_R2, -0.5)


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBundle:
    """A bundle that is not written yet: change members or manifest, then ``write()``."""
    return TinyBundle(tmp_path / "tiny.vaeb")


@pytest.fixture
def tiny_path(tiny: TinyBundle) -> Path:
    """The file of a bundle in which nothing is wrong."""
    return tiny.write()
