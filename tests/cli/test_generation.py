"""decode, interpolate and traverse: the same numbers as in Python, pictures in lines, and one line per bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shell import Cli
from strangers import Painter

from vae_edge_export import ExportConfig, export, export_for_generation
from vae_edge_runtime import VAE, load


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("generation")
    frames = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    export(
        Painter(),
        folder / "p.vaeb",
        calibration=frames,
        encode=lambda m, x: m.look(x),
        decode=lambda m, z: m.paint(z),
        scale_form="log_std",
        config=ExportConfig(layout="nhwc", scale=(255.0,), false_positive_rate=0.05, allow_poor_fit=True),
    )
    np.save(folder / "frames.npy", frames[:8])
    return folder / "p.vaeb"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder of the same kind of model alone."""
    torch.manual_seed(0)

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.painter = Painter()

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.painter.paint(z)

    path = tmp_path_factory.mktemp("decoder") / "d.vaeb"
    export_for_generation(Decoder(), path, latent_shape=(2, 4, 4), config=ExportConfig(layout="nhwc"))
    return path


@pytest.fixture
def vae(bundle: Path) -> Iterator[VAE]:
    with load(bundle, device="cpu") as opened:
        yield opened


def test_decode_takes_what_encode_wrote(cli: Cli, bundle: Path, vae: VAE, tmp_path: Path) -> None:
    frames = bundle.parent / "frames.npy"
    assert cli("encode", bundle, frames, "-o", tmp_path / "z.npz").code == 0
    ended = cli("decode", bundle, tmp_path / "z.npz", "-o", tmp_path / "x.npy", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["shape"] == [8, 16, 16, 3]
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), vae.reconstruct(np.load(frames)))


@pytest.mark.parametrize(
    ("latents", "said"),
    [
        (np.float32(1), "has shape (); latents of this model are"),
        (np.zeros(3, np.float32), "has shape (3); latents of this model are"),
        (np.full((2, 2, 4, 4), np.inf, np.float32), "NaN or infinity"),
        (np.full((2, 2, 4, 4), 1e300), "NaN or infinity"),
    ],
)
def test_latents_that_are_none_are_one_line(
    cli: Cli, bundle: Path, decoder: Path, tmp_path: Path, latents: np.ndarray, said: str
) -> None:
    np.save(tmp_path / "z.npy", latents)
    for command in (("decode", bundle), ("interpolate", decoder), ("traverse", bundle, "--around")):
        ended = cli(*command, tmp_path / "z.npy", "-o", tmp_path / "rows.npy")
        assert (ended.code, said in ended.err.strip().splitlines()[-1]) == (2, True), ended.err


@pytest.mark.parametrize("command", ["decode", "reconstruct"])
def test_no_rows_are_an_empty_npy_and_no_picture(cli: Cli, bundle: Path, tmp_path: Path, command: str) -> None:
    none = np.empty((0, 2, 4, 4), np.float32) if command == "decode" else np.empty((0, 16, 16, 3), np.uint8)
    np.save(tmp_path / "none.npy", none)
    assert cli(command, bundle, tmp_path / "none.npy", "-o", tmp_path / "rows.npy").code == 0
    assert len(np.load(tmp_path / "rows.npy")) == 0
    ended = cli(command, bundle, tmp_path / "none.npy", "-o", tmp_path / "rows.png")
    assert (ended.code, "there is no row to draw" in ended.err) == (2, True), ended.err
    assert not (tmp_path / "rows.png").exists()


def test_interpolate_writes_the_line_of_the_python_call(cli: Cli, bundle: Path, vae: VAE, tmp_path: Path) -> None:
    frames = bundle.parent / "frames.npy"
    options = ("--first", 2, "--last", 5, "--steps", 4)
    assert cli("interpolate", bundle, frames, *options, "-o", tmp_path / "line.npy").code == 0
    x = np.load(frames)
    np.testing.assert_array_equal(np.load(tmp_path / "line.npy"), vae.interpolate(x[2], x[5], steps=4))
    assert cli("interpolate", bundle, frames, *options, "-o", tmp_path / "line.png").code == 0
    with Image.open(tmp_path / "line.png") as picture:
        width, height = picture.size
    assert width > 3 * height  # four pictures in one line


def test_traverse_changes_one_latent_at_a_time(cli: Cli, bundle: Path, vae: VAE, tmp_path: Path) -> None:
    chosen = ("--latents", "0,31", "--steps", 5, "--extent", 2)
    assert cli("traverse", bundle, *chosen, "-o", tmp_path / "t.npy").code == 0
    z = np.zeros((10, 32), np.float32)
    z[:5, 0] = z[5:, 31] = (-2, -1, 0, 1, 2)
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), vae.decode(z.reshape(10, 2, 4, 4)))
    assert cli("traverse", bundle, *chosen, "-o", tmp_path / "t.png").code == 0
    with Image.open(tmp_path / "t.png") as picture:
        width, height = picture.size
    assert abs(width / height - 5 / 2) < 0.1  # five steps, two latents


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("interpolate", "{bundle}", "{frames}", "--last", "8"), "there is no row 8"),
        (("traverse", "{bundle}", "--latents", "32"), "there is no latent 32: this model has 32"),
        (("traverse", "{bundle}", "--latents", "a"), "are not whole numbers"),
        (("decode", "{bundle}", "{frames}"), "z has shape"),
        (("decode", "{bundle}", "{bundle}"), "holds no 'mean'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    cli: Cli, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [part.format(bundle=bundle, frames=bundle.parent / "frames.npy") for part in arguments]
    ended = cli(*given, "-o", tmp_path / "out.npy")
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "out.npy").exists()
