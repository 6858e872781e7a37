from __future__ import annotations

import re
from pathlib import Path

import handmade
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export, inspect_model
from vae_edge_runtime import ExportFailed

ROWS = np.random.default_rng(0).normal(size=(4, handmade.FEATURES)).astype(np.float32)


class Determinant(handmade.Logvar):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = super().encode(x)
        outer = mean[:, :, None] * mean[:, None, :] + torch.eye(2)
        return mean + torch.linalg.det(outer)[:, None], logvar


def test_sizes_are_those_of_the_model() -> None:
    found = inspect_model(handmade.Logvar(), ROWS)
    assert found.ok
    assert found.recognised == "found by name"
    assert found.parameters == sum(p.numel() for p in handmade.Logvar().parameters())
    multiply_adds = {"encode": 6 * 16 + 2 * 16 * 2, "decode": 2 * 16 + 16 * 6}
    assert {name: found.graphs[name].flops for name in multiply_adds} == {k: 2 * v for k, v in multiply_adds.items()}
    assert found.graphs["score"].flops == sum(2 * v for v in multiply_adds.values())
    assert found.graphs["encode"].outputs == {"mean": (2,), "logvar": (2,)}
    assert found.latent["scale_form"] == "logvar"
    assert found.graphs["decode"].operators["Gemm"] == 2


def test_a_recurrent_layer_is_counted_step_by_step() -> None:
    model = handmade.Recurrent(nn.LSTM)
    found = inspect_model(model, np.zeros((3, 20, 5), np.float32))
    gates = 4 * 12
    reader, heads = 2 * 20 * gates * (5 + 12), 2 * 24 * 4  # two directions; two heads
    assert found.graphs["encode"].flops == 2 * (reader + heads)


def test_an_operator_off_the_list_is_named_with_its_line_by_inspect_and_by_export(tmp_path: Path) -> None:
    found = inspect_model(Determinant(), ROWS)
    assert not found.ok
    line = found.graphs["encode"].refused["Det"]
    assert "test_inspection.py:" in line
    assert line.endswith("(encode)")
    assert any(f"the operator Det at {line}" in problem for problem in found.problems)
    rows = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)
    with pytest.raises(ExportFailed, match=re.escape(f"Det at {line}")):
        export(Determinant(), tmp_path / "never.vaeb", calibration=rows)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_break_names_the_line_and_leaves_the_other_half_alone() -> None:
    class Branches(handmade.Logvar):
        def decode(self, z: Tensor) -> Tensor:
            return self.outer(z if bool((z > 100).any()) else -z)

    found = inspect_model(Branches(), ROWS)
    assert found.graphs["encode"].problem is None
    assert "test_inspection.py:" in (found.graphs["decode"].problem or "")
    assert "a Python branch on tensor values: use torch.where" in (found.graphs["decode"].problem or "")


def test_what_stands_in_the_way_is_a_finding() -> None:
    broken = handmade.Logvar()
    with torch.no_grad():
        broken.to_mean.bias[0] = torch.nan
    for model, said in (
        (broken, "to_mean.bias holds NaN"),
        (nn.Sequential(nn.LazyLinear(3)), "has no method 'encode'"), (nn.Linear(6, 6), "has no method 'encode'"),
        ("text", "is a str"),
        (handmade.KerasLike(), "encode failed on rows of shape (3, 6)"),
    ):  # fmt: skip
        found = inspect_model(model, ROWS)
        assert not found.ok
        assert said in found.problems[0]


def test_the_models_own_options_are_not_lost() -> None:
    found = inspect_model(
        handmade.Discrete(), np.zeros((3, 6), np.uint8), config=ExportConfig(likelihood="categorical")
    )
    assert found.ok
    assert found.to_dict()["graphs"]["decode"]["outputs"] == {"x_hat": (6,)}
