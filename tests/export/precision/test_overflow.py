"""float16 of the SDXL kind: a layer with activations beyond 65,504 is spared by name, or the variant is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import Painter
from torch import Tensor, nn

from vae_edge_export import ExportConfig, ExportReport, export
from vae_edge_export.precision import search as search_module
from vae_edge_export.precision.half import HalfPlan
from vae_edge_runtime import load
from vae_edge_runtime.errors import ParityFailed

FACTOR = 2.0**18
"""What one layer multiplies by, and what follows divides by: exact in float32, infinite in float16."""


class Overflowing(Painter):
    """A decoder whose middle layer gives values beyond 65,504 from weights within, as that of SDXL does."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.after = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.loud.weight.mul_(FACTOR)

    def paint(self, z: Tensor) -> Tensor:
        return self.brush[2:](self.after(self.loud(self.brush[:2](z)) / FACTOR))


def exported(path: Path, **options: Any) -> ExportReport:
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, size=(60, 16, 24, 3), dtype=np.uint8)
    config = ExportConfig(
        layout="nhwc", scale=(255.0,), false_positive_rate=0.05, allow_poor_fit=True, precisions=("fp32", "fp16"),
        **options,
    )  # fmt: skip
    return export(
        Overflowing().eval(), path, calibration=frames, config=config, encode=lambda m, x: m.look(x),
        decode=lambda m, z: m.paint(z), scale_form="log_std",
    )  # fmt: skip


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_layer_that_overflows_stays_float32_and_is_named(tmp_path: Path, dynamic: bool) -> None:
    report = exported(tmp_path / "loud.vaeb", dynamic_size=dynamic)
    variant = report.variants["fp16"]
    assert variant.reduction is not None
    assert variant.fidelity is not None
    beyond = {name: why for name, why in variant.reduction.kept.items() if "values to" in why}
    assert any("conv2d" in name for name in beyond), variant.reduction.kept
    assert variant.reduction.layers < variant.reduction.layers_total
    assert variant.fidelity.reconstruction_psnr_db > 50
    frames = np.random.default_rng(5).integers(0, 256, size=(4, 16, 24, 3), dtype=np.uint8)
    with load(report.path, device="cpu", variant="fp16") as half, load(report.path, device="cpu") as whole:
        np.testing.assert_allclose(half.reconstruct(frames), whole.reconstruct(frames), atol=2.0)


def test_without_sparing_the_variant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = search_module.half.plan

    def unsparing(model: Any, network: frozenset[str], largest: Any) -> HalfPlan:
        return plan(model, network, dict.fromkeys(largest, 1.0))

    monkeypatch.setattr(search_module.half, "plan", unsparing)
    words = r"variant 'fp16': decode.x_hat is not finite .* The first layer to overflow is 'conv2d\w*'"
    with pytest.raises(ParityFailed, match=words):
        exported(tmp_path / "no.vaeb")
    assert not list(tmp_path.iterdir())
