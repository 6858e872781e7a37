"""The whole road with several precisions: a bundle whose every variant proves itself, or no bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import families
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, ExportReport, export
from vae_edge_export.gates import DEFAULT_GATES, Gate
from vae_edge_runtime import OptionError, VerdictFailed, load, verify
from vae_edge_runtime.format.bundle import Bundle

RNG = np.random.default_rng(0)
ALL: tuple[Any, ...] = ("fp32", "fp16", "int8", "int8-cpu")
OPEN = Gate(
    min_rank_correlation=0.9,
    min_decision_agreement=0.9,
    max_auroc_change=0.05,
    min_psnr_db=15,
    min_ssim=0.5,
    max_latent_error=0.3,
)
"""For models with random weights, whose scores hardly differ between rows."""


class Pump(nn.Module):
    """A small VAE of 12 correlated features, solved in closed form: principal axes, no training."""

    def __init__(self, rows: np.ndarray, outlier: float = 1.0) -> None:
        super().__init__()
        _, _, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        main = torch.from_numpy(axes[:4].astype(np.float32))
        self.widen, self.mu, self.var = nn.Linear(12, 16), nn.Linear(16, 4), nn.Linear(16, 4)
        self.raise_, self.out = nn.Linear(4, 16), nn.Linear(16, 12)
        with torch.no_grad():
            for layer in (self.widen, self.mu, self.raise_, self.out):
                layer.bias.zero_()
            basis = torch.linalg.qr(torch.randn(16, 12, generator=torch.Generator().manual_seed(0)))[0]
            self.widen.weight.copy_(basis)
            self.mu.weight.copy_(main @ basis.T)
            self.var.weight.zero_()
            self.var.bias.fill_(-2.0)
            self.raise_.weight.zero_()
            self.raise_.weight[:4] = torch.eye(4)
            self.raise_.weight[4] = outlier * torch.ones(4)  # a unit that is large and that nothing reads much
            self.out.weight.zero_()
            self.out.weight[:, :4] = main.T

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.widen(x)
        return self.mu(h), self.var(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.raise_(z))


def pump_rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 4)))[0]
    return (rng.normal(size=(n, 4)) * [4, 3, 2, 1] @ axes.T + 0.2 * rng.normal(size=(n, 12))).astype(np.float32)


TABLE = ExportConfig(layout="features", precisions=ALL, false_positive_rate=0.05, heads=("elbo", "mahalanobis"))


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport]:
    path = tmp_path_factory.mktemp("pump") / "pump.vaeb"
    rows = pump_rows(1000)
    return path, export(Pump(rows), path, calibration=rows, scale_form="logvar", config=TABLE)


def test_every_variant_verifies_scores_and_has_its_own_thresholds(pump: tuple[Path, ExportReport]) -> None:
    path, report = pump
    assert list(report.variants) == list(ALL)
    checked = verify(path)
    assert checked.ok
    assert {check.variant for check in checked.checks} == set(ALL)
    thresholds, scores = {}, {}
    fresh = pump_rows(4000, seed=1)
    for name in ALL:
        with load(path, device="cpu", variant=name) as vae:
            found = vae.score(fresh, heads="all")
            assert vae.info.variant == name
            thresholds[name], scores[name] = found.threshold, found.score
            # A threshold of 800 rows stands for 5 %: its realised rate has a standard error of 0.8 %.
            assert abs(found.is_anomaly.mean() - 0.05) < 0.03
            assert abs(found.heads["mahalanobis"].is_anomaly.mean() - 0.05) < 0.03
    assert len(set(thresholds.values())) == 4
    for name in ALL[1:]:
        fidelity = report.variants[name].fidelity
        assert fidelity is not None
        correlation = np.corrcoef(np.argsort(np.argsort(scores["fp32"])), np.argsort(np.argsort(scores[name])))[0, 1]
        assert correlation > DEFAULT_GATES[name].min_rank_correlation - 0.002
        assert abs(correlation - fidelity.rank_correlation) < 0.003


def test_the_report_counts_bytes_as_they_are_stored(pump: tuple[Path, ExportReport]) -> None:
    path, report = pump
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        assert {name: manifest.variant_bytes(name) for name in ALL} == report.graph_bytes
    half, int8 = report.variants["fp16"].reduction, report.variants["int8"].reduction
    assert half is not None
    assert int8 is not None
    assert (half.layers, half.layers_total, half.weight_bytes * 2) == (3, 3, half.weight_bytes_fp32)
    weights = 16 * 12 + 4 * 16 + 12 * 16
    scales = 5 * (16 + 16 + 12)  # a float32 and a zero point per output channel
    assert (int8.weight_bytes, int8.weight_bytes_fp32) == (weights + scales, 4 * weights)
    assert (int8.activations, report.variants["int8-cpu"].reduction.activations) == ("int8", "uint8")  # type: ignore[union-attr]
    assert report.stored_weight_bytes / report.weight_bytes < 1.15  # int8-cpu's biases are its own


def test_exports_are_byte_identical(pump: tuple[Path, ExportReport], tmp_path: Path) -> None:
    rows = pump_rows(1000)
    export(Pump(rows), tmp_path / "again.vaeb", calibration=rows, scale_form="logvar", config=TABLE)
    again = (tmp_path / "again.vaeb").read_bytes()
    with Bundle.open(pump[0]) as a, Bundle.open(tmp_path / "again.vaeb") as b:
        assert a.manifest.members == b.manifest.members
    assert len(again) == pump[0].stat().st_size


def test_calibration_rows_that_show_a_corner_only_are_refused_with_the_figures(tmp_path: Path) -> None:
    rows = pump_rows(1000)
    target = tmp_path / "narrow.vaeb"
    labels = (np.arange(200) % 2).astype(np.int8)
    held_out = pump_rows(200, seed=3) * np.where(labels == 1, 2.0, 1.0)[:, None].astype(np.float32)
    with pytest.raises(VerdictFailed, match=r"variant 'int8'.*latent error.*Layers that cost most: Gemm") as caught:
        export(
            Pump(rows), target, calibration=rows * np.float32(0.02), evaluation=(held_out, labels), scale_form="logvar",
            config=dataclasses.replace(TABLE, precisions=("fp32", "int8")),
        )  # fmt: skip
    assert {f.name for f in caught.value.report if not f.kept} >= {"PSNR of reconstructions in dB", "latent error"}
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_int8_would_ruin_goes_to_float16(tmp_path: Path) -> None:
    rows = pump_rows(1000)
    report = export(
        Pump(rows, outlier=300.0), tmp_path / "o.vaeb", calibration=rows, scale_form="logvar",
        config=dataclasses.replace(TABLE, precisions=("int8",)),
    )  # fmt: skip
    reduction = report.variants["int8"].reduction
    assert reduction is not None
    assert reduction.scheme == "encoder int8, decoder fp16"
    assert reduction.layers == 3
    assert verify(report.path).ok


def test_a_bundle_may_hold_int8_alone(tmp_path: Path) -> None:
    rows = pump_rows(1000)
    config = dataclasses.replace(TABLE, precisions=("int8",))
    report = export(Pump(rows), tmp_path / "small.vaeb", calibration=rows, scale_form="logvar", config=config)
    assert report.default_variant == "int8"
    with load(report.path) as vae:
        assert vae.info.variant == "int8"
    assert not any(name.startswith("fp32/") for name in vae.manifest.members)


FAMILIES = {
    family.name: family
    for family in families.by_hand()
    if family.name.startswith(("conditional: label", "hierarchical", "sequence", "VQ-VAE by hand", "spatial"))
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_every_variant(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    torch.manual_seed(0)
    config = ExportConfig(precisions=ALL, gates=dict.fromkeys(ALL, OPEN), false_positive_rate=0.05, **family.config)
    condition = {"condition": family.condition(RNG)} if family.condition else {}
    rows = family.rows(RNG)
    model = family.make().eval()
    report = export(model, tmp_path / "f.vaeb", calibration=rows, config=config, **condition, **family.options)
    assert verify(report.path).ok
    for variant in ALL[1:]:
        reduction = report.variants[variant].reduction
        assert reduction is not None
        assert reduction.layers >= 1
        assert reduction.weight_bytes < reduction.weight_bytes_fp32 * (0.51 if variant == "fp16" else 0.75)


def test_upsampling_is_merged_for_cpus_and_kept_for_tensorrt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    family = next(f for f in families.by_hand() if f.name == "tutorial: encoder, fc_mu, fc_var, decoder")
    config = ExportConfig(precisions=ALL, gates=dict.fromkeys(ALL, OPEN), false_positive_rate=0.05, **family.config)
    path = tmp_path / "up.vaeb"
    export(family.make().eval(), path, calibration=family.rows(RNG), config=config, **family.options)
    assert verify(path).ok
    enlarging: dict[str, list[str]] = {}
    with Bundle.open(path) as bundle:
        for name in ALL:
            kinds = [node.op_type for node in onnx.load_from_string(bundle.graph(name, "decode")).graph.node]
            enlarging[name] = [kind for kind in kinds if kind in ("Resize", "ConvTranspose")]
            assert kinds.count("Conv") == (0 if name == "fp32" else 2)
    assert enlarging == {"fp32": ["ConvTranspose"] * 2, "fp16": ["Resize"] * 2, "int8": ["Resize"] * 2, "int8-cpu": []}


@pytest.mark.parametrize("wrong", [(), ("fp32", "fp32"), ("fp64",)])
def test_precisions_that_do_not_exist_are_refused(wrong: Any) -> None:
    with pytest.raises(OptionError):
        ExportConfig(precisions=wrong)
