"""``export --dynamic-size`` and the commands that take other sizes of such a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import run

from vae_edge_runtime import load

MODEL = """
import torch
from strangers import Painter


def build():
    torch.manual_seed(0)
    return Painter()


def look(m, x):
    return m.look(x)


def paint(m, z):
    return m.paint(z)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "painters.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    np.save(folder / "good.npy", rng.integers(0, 256, (40, 16, 24, 3), np.uint8))
    np.save(folder / "other.npy", rng.integers(0, 256, (3, 20, 28, 3), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        done = run(
            "export", "painters:build", "--encode", "painters:look", "--decode", "painters:paint", "--scale-form",
            "log_std", "--calibration", "good.npy", "--layout", "nhwc", "--scale", "255",
            "--false-positive-rate", "0.05",
            "--dynamic-size", "--allow-poor-fit", "-o", "painter.vaeb",
        )  # fmt: skip
    assert done.code == 0, done.err
    assert "multiples of 4 from 4x4 (height x width), compared with PyTorch at 4x4, 8x20, 20x32, 16x24" in done.err
    return folder / "painter.vaeb"


def test_info_and_verify_name_the_sizes(bundle: Path) -> None:
    shown = run("info", str(bundle)).out
    assert "encode and decode take multiples of 4 from 4x4 (height x width), compared with PyTorch at 4x4" in shown
    assert "; score takes the input's own" in shown
    assert "fp32 decode.x_hat at 20x32" in run("verify", str(bundle)).out


def test_rows_of_another_size_go_through_encode_decode_and_reconstruct(bundle: Path, tmp_path: Path) -> None:
    other, z, rows, again = bundle.parent / "other.npy", *(tmp_path / name for name in ("z.npz", "r.npy", "d.npy"))
    assert run("encode", str(bundle), str(other), "-o", str(z)).code == 0
    assert np.load(z)["mean"].shape == (3, 2, 5, 7)
    assert run("decode", str(bundle), str(z), "-o", str(again)).code == 0
    assert run("reconstruct", str(bundle), str(other), "-o", str(rows)).code == 0
    with load(bundle, device="cpu") as vae:
        wanted = vae.reconstruct(np.load(other))
    assert np.load(again).shape == (3, 20, 28, 3)
    np.testing.assert_allclose(np.load(again), wanted, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.load(rows), wanted, rtol=1e-5, atol=1e-4)


def test_sample_takes_a_size_and_score_takes_its_own_alone(bundle: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.npy"
    done = run("sample", str(bundle), "-n", "2", "--size", "12x36", "-o", str(drawn))
    assert done.code == 0
    assert np.load(drawn).shape == (2, 12, 36, 3)
    assert "multiples of 4" in run("sample", str(bundle), "--size", "12x35", "-o", str(tmp_path / "no.npy")).err
    refused = run("score", str(bundle), str(bundle.parent / "other.npy"))
    assert (refused.code, "20, 28" in refused.err) == (2, True)
