from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """300 raw rows of 6 features, float32."""
    return np.random.default_rng(0).normal(2.0, 3.0, size=(300, 6)).astype(np.float32)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """150 raw frames 16x16 RGB, uint8, NHWC."""
    return np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3), dtype=np.uint8)


def seeded(kind: Any, *args: Any) -> Any:
    """A module with reproducible random weights."""
    torch.manual_seed(0)
    return kind(*args)


@pytest.fixture
def make() -> Any:
    return seeded
