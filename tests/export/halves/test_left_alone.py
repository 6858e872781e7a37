"""An export leaves the user's model as it was, whatever the model keeps while it runs."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import Plain

from vae_edge_export import ExportConfig, export
from vae_edge_export.halves.left_alone import leaves_model_alone

ROWS = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
CONFIG = ExportConfig(false_positive_rate=0.05, allow_poor_fit=True)


class Keeps:
    """A hook that is a method of an object with a list."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, *given: Any) -> None:
        self.seen.append(given[-1])

    def hook(self, *given: Any) -> None:
        self.seen.append(given[-1])


def test_a_hook_that_keeps_activations_keeps_none_of_an_export(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, closed_over = Plain(), list[Any]()
    model.activations = {"inner": [torch.zeros(1)]}
    model.inner.register_forward_hook(lambda module, given, got: closed_over.append(got))
    model.inner.register_forward_hook(lambda module, given, got: model.activations["inner"].append(got))
    keeps = Keeps()
    model.outer.register_forward_pre_hook(keeps.hook)
    before = model.activations["inner"][0]
    for _ in range(2):  # the second one could not copy what the first had left behind
        export(model, tmp_path / "m.vaeb", calibration=ROWS, config=CONFIG, force=True)
    assert closed_over == []
    assert keeps.seen == []
    assert len(model.activations["inner"]) == 1
    assert model.activations["inner"][0] is before


@pytest.mark.parametrize("made", [list, set, deque, dict])
def test_containers_are_put_back_when_the_export_fails(made: Any) -> None:
    model = Plain()
    model.kept = made([(1, 2)])

    @leaves_model_alone
    def fails(model: Any) -> None:
        model.kept.clear()
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fails(model)
    assert model.kept == made([(1, 2)])
