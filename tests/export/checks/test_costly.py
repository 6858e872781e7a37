"""A costly model: no output is computed twice, float64 is spent on small rows, and wrong graphs are refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from strangers import Painter
from torch import nn

from vae_edge_export import ExportConfig, effort, export, export_for_generation
from vae_edge_export.checks import kept as kept_module
from vae_edge_export.checks import reference as reference_module
from vae_edge_export.checks.exact_norms import ExactNorms
from vae_edge_export.checks.kept import KeptRows
from vae_edge_export.checks.parity import compare_outputs, refuse_missed
from vae_edge_export.checks.reference import Reference
from vae_edge_export.generation import export as generation_module
from vae_edge_export.graphs.row_bytes import RowBytes
from vae_edge_runtime.backends.ort import OrtBackend
from vae_edge_runtime.errors import ParityFailed
from vae_edge_runtime.format.bundle import Bundle
from vae_edge_runtime.format.specs import Signature, TensorSpec

HALVES: dict[str, Any] = {
    "encode": lambda m, x: m.look(x), "decode": lambda m, z: m.paint(z), "scale_form": "log_std",
}  # fmt: skip
CONFIG = ExportConfig(layout="nhwc", scale=(255.0,), dynamic_size=True, allow_poor_fit=True)
BASE, BELOW, ABOVE = (32, 48), (16, 36), (36, 56)
Runs = Counter[tuple[str, tuple[int, ...]]]


@pytest.fixture
def painter() -> Painter:
    return Painter().eval()


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(40, *BASE, 3), dtype=np.uint8)


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model takes too many multiplications for more than the fewest rows."""
    monkeypatch.setattr(effort, "CHECK_MULTIPLICATIONS", 1)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """How many rows PyTorch was given, by precision and shape of a row."""
    counted: Runs = Counter()
    run = reference_module.run_torch

    def counting(module: nn.Module, signature: Signature, feeds: Any, *, dtype: torch.dtype, **more: Any) -> Any:
        first = feeds[signature.inputs[0].name]
        counted[str(dtype).removeprefix("torch."), first.shape[1:]] += len(first)
        return run(module, signature, feeds, dtype=dtype, **more)

    for module in ("reference", "fit", "code_ranges"):
        monkeypatch.setattr(f"vae_edge_export.checks.{module}.run_torch", counting)
    return counted


@pytest.mark.usefixtures("costly")
def test_float64_is_spent_on_rows_below_the_size_of_the_calibration(
    painter: Painter, frames: np.ndarray, runs: Runs, tmp_path: Path
) -> None:
    report = export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    rows = {shape for precision, shape in runs if precision == "float64" and len(shape) == 3 and shape[-1] == 3}
    assert (*BELOW, 3) in rows
    assert max(shape[0] * shape[1] for shape in rows) < BASE[0] * BASE[1]
    assert {parity.reference for parity in report.parity.values()} == {"float32"}
    (said,) = [line for line in report.evidence if "PyTorch in float64 up to" in line]
    assert "16x36" in said
    assert "float32 with norms in float64 at 32x48 and above" in said


@pytest.mark.usefixtures("costly")
def test_rows_at_the_size_of_the_calibration_are_run_once_each(
    painter: Painter, frames: np.ndarray, runs: Runs, tmp_path: Path
) -> None:
    """Three rows for the fit, of which parity and golden vectors take what they need, and a black one."""
    export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    assert runs["float32", (*BASE, 3)] == 3 + 1
    assert runs["float32", (2, 8, 12)] == 3 + 1  # their codes, and one draw from the prior


def test_a_usual_model_of_free_size_is_compared_in_float64_at_every_size(
    painter: Painter, frames: np.ndarray, runs: Runs, tmp_path: Path
) -> None:
    report = export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    assert {("float64", (*size, 3)) for size in (BASE, BELOW, ABOVE)} <= set(runs)
    assert {parity.reference for parity in report.parity.values()} == {"float64"}
    assert not any("in float32 with" in line for line in report.evidence)


@pytest.mark.usefixtures("costly")
def test_a_scored_model_of_free_size_holds_its_score_to_float64(
    painter: Painter, frames: np.ndarray, tmp_path: Path
) -> None:
    config = ExportConfig(
        layout="nhwc", scale=(255.0,), dynamic_size=True, allow_poor_fit=True, false_positive_rate=0.1
    )
    report = export(painter, tmp_path / "p.vaeb", calibration=frames, config=config, **HALVES)
    reference = {name.split(".")[0]: parity.reference for name, parity in report.parity.items()}
    assert reference == {"encode": "float32", "decode": "float32", "score": "float64"}
    assert any("PyTorch in float64 up to 16x36" in line for line in report.evidence)


@pytest.mark.usefixtures("costly")
@pytest.mark.parametrize("graph", ["encode", "decode"])
def test_a_wrong_graph_is_refused(
    painter: Painter, frames: np.ndarray, graph: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finish = generation_module.finish_fp32

    def spoilt(model: Any, *, graph: str, spoil: str = graph) -> Any:
        made = finish(model, graph=graph)
        if graph == spoil:
            weight = next(w for w in made.graph.initializer if len(w.dims) == 4)
            array = numpy_helper.to_array(weight) * np.float32(1.001)
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        return made

    monkeypatch.setattr(generation_module, "finish_fp32", spoilt)
    with pytest.raises(ParityFailed, match=rf"{graph}\.\w+ differs by"):
        export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    assert not (tmp_path / "p.vaeb").exists()


class _Cancelling(nn.Module):
    """What is left of numbers that cancel: float32 keeps three digits of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 1000.0) - 1000.0


class _Engine:
    """Gives rows in float64 precision, ``wrong`` of them added."""

    def __init__(self, wrong: float) -> None:
        self.wrong, self.batches = wrong, list[int]()

    def run(self, graph: str, feeds: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        self.batches.append(len(feeds["x"]))
        return [feeds["x"] + np.float32(self.wrong)]


def held_to_float32() -> Reference:
    signature = {"g": Signature((TensorSpec("x", "float32", (4,)),), (TensorSpec("y", "float32", (4,)),))}
    rows = {"g": {"x": np.ones((1, 4), np.float32)}}
    costly = {"g": RowBytes(1, 1, 10**15)}
    module = {"g": _Cancelling()}
    return Reference.of(module, signature, rows, costly, single_beyond={"g": 3}, singles=KeptRows())


def test_where_float32_pytorch_is_the_worse_one_float64_decides() -> None:
    feeds = {"x": np.random.default_rng(0).uniform(0.1, 0.2, (3, 4)).astype(np.float32)}
    reference, engine = held_to_float32(), _Engine(0.0)
    figures, problems, notes = compare_outputs(engine, reference, {"g": feeds}, rtol=1e-4)  # type: ignore[arg-type]
    assert not problems
    assert not notes
    assert (figures["g.y"].reference, figures["g.y"].max_relative) == ("float64", pytest.approx(0, abs=1e-7))
    assert engine.batches == [1, 1, 1]
    figures, problems, _ = compare_outputs(_Engine(0.01), reference, {"g": feeds}, rtol=1e-4)  # type: ignore[arg-type]
    with pytest.raises(ParityFailed, match=r"g\.y differs by"):
        refuse_missed(figures, problems)


def test_rows_of_a_costly_model_are_run_alone_and_in_pairs() -> None:
    """Not all at once: memory for one row of 512 x 512 is gigabytes. Of free size, pairs are run at a smaller one."""
    reference, engine = held_to_float32(), _Engine(0.0)
    one_size = dataclasses.replace(reference, single_beyond={})
    compare_outputs(engine, one_size, {"g": {"x": np.ones((5, 4), np.float32)}}, rtol=1e-4)  # type: ignore[arg-type]
    assert engine.batches == [1, 2, 2, 1]
    engine.batches.clear()
    compare_outputs(engine, reference, {"g": {"x": np.ones((5, 4), np.float32)}}, rtol=1e-4)  # type: ignore[arg-type]
    assert engine.batches == [1] * 5


@pytest.mark.usefixtures("costly")
def test_two_rows_of_free_size_are_run_at_once_at_the_smallest_size(
    painter: Painter, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(effort, "CHECK_MULTIPLICATIONS", 100_000)
    batches = Counter[tuple[int, ...]]()
    run = OrtBackend.run

    def counting(self: OrtBackend, graph: str, feeds: Any, outputs: Any) -> Any:
        batches[next(iter(feeds.values())).shape] += 1
        return run(self, graph, feeds, outputs)

    monkeypatch.setattr(OrtBackend, "run", counting)
    export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    assert batches[(2, 4, 4, 3)]
    assert batches[(1, *BASE, 3)]
    assert not any(shape[0] > 1 and shape[1:] == (*BASE, 3) for shape in batches)


def test_kept_rows_stay_within_their_bytes_and_those_that_come_first_stay() -> None:
    kept, asked = KeptRows(most_bytes=2 * 4 * 8), list[int]()

    def double(feeds: Any) -> dict[str, np.ndarray]:
        asked.append(len(feeds["x"]))
        return {"y": 2.0 * feeds["x"]}

    x = np.arange(16, dtype=np.float64).reshape(4, 4)
    np.testing.assert_array_equal(kept.run("g", {"x": x[:2]}, double)["y"], 2 * x[:2])
    np.testing.assert_array_equal(kept.run("g", {"x": x}, double)["y"], 2 * x)
    np.testing.assert_array_equal(kept.run("g", {"x": x[[3, 1, 2]]}, double)["y"], 2 * x[[3, 1, 2]])
    assert asked == [2, 2, 2]
    kept.run("g", {"x": x[:2]}, double)
    assert asked == [2, 2, 2]
    kept.run("other graph", {"x": x[:2]}, double)
    assert asked == [2, 2, 2, 2]
    assert kept_module.KeptRows().most_bytes == 256 << 20


def test_float32_with_norms_in_float64_has_nearly_the_digits_of_float64() -> None:
    """Where the mean is a thousand times the spread PyTorch's own group norm loses 20 times as much."""
    module = nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1)).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(1000.0, 1.0, (2, 4, 16, 16)).astype(np.float32))
    with torch.no_grad():
        own = module(x)
        with ExactNorms():  # type: ignore[no-untyped-call]
            exact = module(x)
        wanted = module.double()(x.double())
    assert (exact.dtype, wanted.dtype) == (torch.float32, torch.float64)
    assert float((own - wanted).abs().max()) > 2e-5
    assert float((exact - wanted).abs().max()) < 2e-6


@pytest.mark.usefixtures("costly")
def test_a_size_that_float32_pytorch_misses_is_held_to_float64(
    painter: Painter, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here PyTorch in float32 is made wrong at the largest size alone."""
    run = reference_module.run_torch

    def wrong(module: nn.Module, signature: Signature, feeds: Any, *, dtype: torch.dtype, **more: Any) -> Any:
        outputs = run(module, signature, feeds, dtype=dtype, **more)
        off = dtype == torch.float32 and feeds[signature.inputs[0].name].shape[1:3] == ABOVE
        return {name: x + np.float32(0.01 if off else 0.0) for name, x in outputs.items()}

    monkeypatch.setattr(reference_module, "run_torch", wrong)
    report = export_for_generation(painter, tmp_path / "p.vaeb", rows=frames[:3], config=CONFIG, **HALVES)
    with Bundle.open(report.path) as bundle:
        free = bundle.manifest.free_size
    assert free is not None
    held = {
        ((check.height, check.width), name.split(".")[0]): parity.reference
        for check in free.checks
        for name, parity in check.parity["fp32"].items()
    }
    assert held[ABOVE, "encode"] == "float64"
    assert held[ABOVE, "decode"] == "float32"
    assert (held[BELOW, "encode"], held[BELOW, "decode"]) == ("float64", "float64")
