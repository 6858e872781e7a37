"""Tiled decode: the rule of diffusers, step by step, and bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import Painter
from torch import Tensor

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import VAE, load
from vae_edge_runtime.errors import InputError, OptionError

Array = np.ndarray[Any, Any]


def by_diffusers(decoder: Any, z: Tensor, *, tile: int, ratio: int) -> Tensor:
    """``AutoencoderKL.tiled_decode`` of diffusers 0.42.1, with its attributes as arguments."""
    overlap_size, sample = int(tile * (1 - 0.25)), tile * ratio
    blend_extent = int(sample * 0.25)
    row_limit = sample - blend_extent

    def blend(a: Tensor, b: Tensor, dim: int) -> Tensor:
        extent = min(a.shape[dim], b.shape[dim], blend_extent)
        for at in range(extent):
            mixed = a.select(dim, a.shape[dim] - extent + at) * (1 - at / extent) + b.select(dim, at) * (at / extent)
            b.select(dim, at).copy_(mixed)
        return b

    rows = [
        [decoder(z[:, :, i : i + tile, j : j + tile]) for j in range(0, z.shape[3], overlap_size)]
        for i in range(0, z.shape[2], overlap_size)
    ]
    result_rows = []
    for i, row in enumerate(rows):
        result_row = []
        for j, each in enumerate(row):
            if i > 0:
                each = blend(rows[i - 1][j], each, 2)
            if j > 0:
                each = blend(row[j - 1], each, 3)
            result_row.append(each[:, :, :row_limit, :row_limit])
        result_rows.append(torch.cat(result_row, dim=3))
    return torch.cat(result_rows, dim=2)


@pytest.fixture(scope="module")
def painter() -> Painter:
    torch.manual_seed(3)
    return Painter().eval()


def exported(painter: Painter, path: Path, **options: Any) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, size=(30, 16, 24, 3), dtype=np.uint8)
    options = {"dynamic_size": True, "layout": "nhwc"} | options
    config = ExportConfig(scale=(255.0,), false_positive_rate=0.05, allow_poor_fit=True, **options)
    x = frames if config.layout == "nhwc" else np.ascontiguousarray(np.moveaxis(frames, 3, 1))
    export(
        painter, path, calibration=x, config=config, encode=lambda m, x: m.look(x), decode=lambda m, z: m.paint(z),
        scale_form="log_std",
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def bundle(painter: Painter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(painter, tmp_path_factory.mktemp("tiles") / "painter.vaeb")


@pytest.fixture(scope="module")
def vae(bundle: Path) -> VAE:
    return load(bundle, device="cpu", threads=1)


def latents(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(20, 26), (8, 30), (13, 9), (12, 12), (7, 8)])
def test_tiles_are_blended_as_diffusers_does(painter: Painter, vae: VAE, height: int, width: int) -> None:
    z = latents(2, 2, height, width)
    with torch.no_grad():
        tiled = height > 8 or width > 8
        wanted = by_diffusers(painter.paint, torch.from_numpy(z), tile=8, ratio=4) if tiled else painter.paint(
            torch.from_numpy(z)
        )  # fmt: skip
    rows = vae.decode(z, tile=32)
    assert rows.shape == (2, 4 * height, 4 * width, 3)
    np.testing.assert_allclose(rows, wanted.permute(0, 2, 3, 1).numpy() * 255, rtol=1e-4, atol=1e-3)


def test_inside_a_tile_the_rows_are_those_of_the_whole(vae: VAE) -> None:
    z = latents(1, 2, 20, 20)
    whole, tiled = vae.decode(z), vae.decode(z, tile=32)
    np.testing.assert_allclose(tiled[:, :20, :20], whole[:, :20, :20], rtol=1e-4, atol=1e-3)
    assert np.abs(tiled - whole).max() < 40  # where two tiles meet each of them saw half of the latents


def test_channels_first_and_uint8_are_blended_alike(painter: Painter, vae: VAE, tmp_path: Path) -> None:
    z = latents(2, 2, 14, 11)
    wanted = vae.decode(z, tile=32)
    with load(exported(painter, tmp_path / "nchw.vaeb", layout="nchw"), device="cpu", threads=1) as other:
        np.testing.assert_allclose(np.moveaxis(other.decode(z, tile=32), 1, 3), wanted, rtol=1e-4, atol=1e-3)
    with load(exported(painter, tmp_path / "u8.vaeb", output_dtype="uint8"), device="cpu", threads=1) as other:
        rows = other.decode(z, tile=32)
        assert rows.dtype == np.uint8
        assert np.abs(rows.astype(np.float32) - wanted).max() <= 1.01  # tiles are rounded before and after


def test_the_engine_is_never_given_more_than_a_tile(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, ...]] = []
    run = vae._backend.run

    def noted(graph: str, feeds: Any, names: Any) -> Any:
        given.append(feeds["z"].shape)
        return run(graph, feeds, names)

    monkeypatch.setattr(vae._backend, "run", noted)
    vae.decode(latents(1, 2, 50, 70), tile=32)
    assert len(given) == 9 * 12
    assert max(height * width for *_, height, width in given) == 64


@pytest.mark.parametrize(
    ("tile", "words"), [(20, "a multiple of 16 pixels, such as 128"), (0, "side of a tile"), ("8", "side of a tile")]
)
def test_a_tile_that_does_not_fit_is_refused(vae: VAE, tile: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        vae.decode(latents(1, 2, 9, 9), tile=tile)


def test_a_bundle_of_one_size_has_no_tiles(painter: Painter, tmp_path: Path) -> None:
    with load(exported(painter, tmp_path / "one.vaeb", dynamic_size=False), device="cpu", threads=1) as one:
        with pytest.raises(OptionError, match="export the model with --dynamic-size"):
            one.decode(latents(1, 2, 4, 6), tile=32)
        with pytest.raises(InputError, match=r"takes \(n, 2, 4, 6\)"):
            one.decode(latents(1, 2, 9, 9))
