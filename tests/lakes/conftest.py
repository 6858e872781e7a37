from __future__ import annotations

import pytest
from shell import Cli, run


@pytest.fixture
def cli() -> Cli:
    return run
