"""Memory by bytes: rows at once, rows compared, and outputs kept, from what a row needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from strangers import Plain
from torch import nn

from vae_edge_export import ExportConfig, effort, export, export_for_generation, pipeline
from vae_edge_export.checks import reference as reference_module
from vae_edge_export.checks.reference import Reference
from vae_edge_export.graphs.row_bytes import measure_row_bytes
from vae_edge_export.variants.builder import spread_by_size
from vae_edge_runtime.errors import ParityFailed
from vae_edge_runtime.format.specs import Signature, TensorSpec
from vae_edge_runtime.graph_session import BYTES_PER_RUN, ROWS_PER_RUN, rows_within


def _signature(*shape: int) -> Signature:
    return Signature((TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", shape),))


def test_the_largest_operation_of_a_row_is_counted_in_both_precisions() -> None:
    module = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 1, 3, padding=1)).eval()
    needed = measure_row_bytes(module, _signature(1, 64, 64), {"x": np.zeros((3, 1, 64, 64), np.float32)})
    pixels = 64 * 64
    assert needed.single == 2 * 4 * (32 + 32) * pixels  # what the activation takes and gives
    assert needed.double == 8 * (2 * (32 + 32) + 32 * 9) * pixels  # and the unfolded input of the second convolution


@pytest.mark.parametrize(("row_bytes", "rows"), [(0, 64), (1, 64), (4 << 20, 64), (5 << 20, 51), (1 << 30, 1)])
def test_rows_at_once_are_those_that_fit(row_bytes: int, rows: int) -> None:
    assert rows_within(BYTES_PER_RUN, row_bytes) == rows
    assert rows <= ROWS_PER_RUN


def test_rows_to_compare_reach_from_the_darkest_to_the_brightest() -> None:
    x = np.random.default_rng(0).permutation(100).astype(np.float32).reshape(100, 1)
    chosen = spread_by_size(x, 8)
    assert sorted(x[chosen, 0]) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert list(chosen) == sorted(chosen)


def counted() -> tuple[nn.Module, list[int]]:
    """A module, and a list of how many rows it was given in float64, each time; copies of the module add to it too."""
    calls: list[int] = []

    class Counted(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                calls.append(len(x))
            return self.outer(self.fc_mu(self.inner(x)))

    return Counted(), calls


def test_a_reference_in_float64_is_computed_once_for_the_same_rows() -> None:
    module, calls = counted()
    example = {"x": np.ones((3, 6), np.float32)}
    reference = Reference.of({"g": module}, {"g": _signature(6)}, {"g": example})
    rows = {"x": np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)}
    calls.clear()
    first, again = reference.run("g", rows), reference.run("g", {"x": rows["x"].copy()})
    np.testing.assert_array_equal(first["y"], again["y"])
    assert calls == [5]
    reference.run("g", {"x": rows["x"] * 2})
    assert calls == [5, 5]


def test_a_gate_that_asks_for_some_new_rows_pays_for_those_alone() -> None:
    torch.manual_seed(0)
    module, calls = counted()
    reference = Reference.of({"g": module}, {"g": _signature(6)}, {"g": {"x": np.ones((3, 6), np.float32)}})
    x = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    calls.clear()
    known = reference.run("g", {"x": x[:4]})["y"]
    mixed = reference.run("g", {"x": x[[5, 2, 0, 4]]})["y"]
    assert calls == [4, 2]
    np.testing.assert_array_equal(mixed[[1, 2]], known[[2, 0]])
    np.testing.assert_array_equal(reference.run("g", {"x": x[[4, 5]]})["y"], mixed[[3, 0]])
    assert calls == [4, 2]


def test_multiplications_of_a_row_are_counted() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ConvTranspose2d(4, 2, 2, 2), nn.Flatten(), nn.Linear(128, 5)
    )
    row = measure_row_bytes(module.eval(), _signature(1, 4, 4), {"x": np.zeros((3, 1, 4, 4), np.float32)})
    assert row.multiplications == 4 * 9 * 16 + (4 * 16) * 2 * 4 + 128 * 5


def test_of_a_costly_model_few_rows_are_compared_and_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows: dict[str, list[int]] = {"float64": [], "float32": []}
    run = reference_module.run_torch

    def counted(module: nn.Module, signature: Signature, feeds: Any, *, dtype: torch.dtype, **more: Any) -> Any:
        rows[str(dtype).removeprefix("torch.")].append(len(next(iter(feeds.values()))))
        return run(module, signature, feeds, dtype=dtype, **more)

    monkeypatch.setattr(reference_module, "run_torch", counted)
    x = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    options = ExportConfig(false_positive_rate=0.05, allow_poor_fit=True)
    torch.manual_seed(0)
    model = Plain().eval()
    usual = export(model, tmp_path / "usual.vaeb", calibration=x, config=options)
    many = sum(rows["float64"])
    rows["float64"].clear()
    monkeypatch.setattr(effort, "CHECK_MULTIPLICATIONS", 500)  # of some 200 a row
    costly = export(model, tmp_path / "costly.vaeb", calibration=x, config=options)
    assert sum(rows["float64"]) < many / 8
    assert {figures.rows for figures in usual.parity.values()} == {64, 75}  # decode: 11 latents beside those of rows
    assert {figures.rows for figures in costly.parity.values()} == {2, 3}
    assert costly.calibration == usual.calibration
    assert (costly.verdict.rows, usual.verdict.rows) == (20, 20)
    assert any("checks look at fewer rows: 2 in float64 in place of more" in line for line in costly.evidence)
    assert not any("fewer rows" in line for line in usual.evidence)


def test_generation_of_a_costly_model_is_verified_on_few_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    torch.manual_seed(0)
    model, options = Plain().eval(), ExportConfig(allow_poor_fit=True)
    usual = export_for_generation(model, tmp_path / "usual.vaeb", rows=x, config=options)
    monkeypatch.setattr(effort, "CHECK_MULTIPLICATIONS", 500)
    costly = export_for_generation(model, tmp_path / "costly.vaeb", rows=x, config=options)
    assert [usual.parity[name].rows for name in ("encode.mean", "decode.x_hat")] == [16, 43]
    assert [costly.parity[name].rows for name in ("encode.mean", "decode.x_hat")] == [3, 4]
    assert usual.samples is not None
    assert costly.samples is not None
    assert (usual.samples.rows, costly.samples.rows) == (64, 4)
    assert any("3 in float64 in place of more" in line and "scored" not in line for line in costly.evidence)


def test_a_wrong_graph_of_a_costly_model_is_still_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(effort, "CHECK_MULTIPLICATIONS", 500)
    finish = pipeline.finish_fp32

    def spoilt(model: Any, *, graph: str) -> Any:
        made = finish(model, graph=graph)
        if graph == "decode":
            # A bias of the output: a unit of ReLU may be silent on the two rows that are compared.
            weight = next(w for w in made.graph.initializer if list(w.dims) == [6])
            array = numpy_helper.to_array(weight).copy()
            array.flat[0] += 0.01
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        return made

    monkeypatch.setattr(pipeline, "finish_fp32", spoilt)
    x = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    with pytest.raises(ParityFailed, match=r"decode\.x_hat differs"):
        export(
            Plain().eval(), tmp_path / "no.vaeb", calibration=x,
            config=ExportConfig(false_positive_rate=0.05, allow_poor_fit=True),
        )  # fmt: skip
