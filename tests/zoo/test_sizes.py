"""AutoencoderKL of diffusers with free height and width, and its own tiled decode beside that of the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load, verify


def tiny_kl(**more: Any) -> Any:
    """Three halvings and an attention block, as Stable Diffusion has them, with few channels."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1, block_out_channels=(8, 16, 16, 16),
        norm_num_groups=4, down_block_types=down, up_block_types=up, sample_size=64, **more,
    ).eval()  # fmt: skip


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
def test_a_kl_autoencoder_of_diffusers_takes_sizes_and_tiles(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    model = tiny_kl()
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, size=(12, 64, 64, 3), dtype=np.uint8)
    config = ExportConfig(
        layout="nhwc", offset=(127.5,), scale=(127.5,), false_positive_rate=0.1, dynamic_size=True, allow_poor_fit=True
    )
    report = export(model, tmp_path / "kl.vaeb", calibration=frames, config=config)
    assert any("multiples of 8 from 8x8" in line for line in report.evidence)
    assert any("proven on pieces of 32x32 pixels" in line for line in report.evidence)
    assert verify(report.path).ok
    z = rng.normal(size=(1, 4, 20, 26)).astype(np.float32)
    unscaled = torch.from_numpy(z) / model.config.scaling_factor
    model.enable_tiling()
    with torch.no_grad(), load(report.path, device="cpu", threads=1) as vae:
        tiled = model.decode(unscaled).sample
        model.disable_tiling()
        whole = model.decode(unscaled).sample
        assert not torch.equal(tiled, whole)
        for rows, tile in ((whole, None), (tiled, 64)):
            wanted = rows.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
            np.testing.assert_allclose(vae.decode(z, tile=tile), wanted, rtol=1e-4, atol=1e-2)
