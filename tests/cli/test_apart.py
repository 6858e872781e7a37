"""What a command reads is never written over, under whatever name and with ``--force``."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle, windows
from shell import Cli

from vae_edge.cli import _apart, _app
from vae_edge_runtime.__main__ import main as device

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links")
TABLE, PICTURE = CORPUS / "v1-table.vaeb", CORPUS / "v1-picture.vaeb"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bundles and rows, a link to each, and pictures."""
    pillow = pytest.importorskip("PIL.Image")
    for name, path in (("t.vaeb", TABLE), ("p.vaeb", PICTURE), ("w.vaeb", window_bundle())):
        (tmp_path / name).write_bytes(path.read_bytes())
    np.save(tmp_path / "w.npy", windows(20, 1))
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", header="a,b,c,d,e,f", comments="")
    np.savez(tmp_path / "t.npz", x=rows, y=np.arange(60) % 9 == 0)
    (tmp_path / "link").symlink_to("w.npy")
    os.link(tmp_path / "w.npy", tmp_path / "hard")
    (tmp_path / "pics").mkdir()
    pillow.new("RGB", (12, 12), 9).save(tmp_path / "pics" / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        "compress w.vaeb w.npy --exact --force -o w.npy",
        "compress w.vaeb w.npy --exact --force -o link",
        "compress w.vaeb link --exact --force -o hard",
        "compress w.vaeb w.npy --exact --force -o w.vaeb",
        "compress w.vaeb w.npy --exact --force -o ../{name}/w.npy",
        "recalibrate t.vaeb t.csv --force -o t.vaeb",
        "score t.vaeb t.csv --force -o t.csv",
        "score t.vaeb t.npz t.csv --force -o t.csv",
        "score p.vaeb pics --maps pics --force",
        "score p.vaeb pics --maps pics/maps",
        "watch p.vaeb pics --follow --maps pics/maps/of/today",
        "watch t.vaeb t.csv -o t.csv",
        "watch t.vaeb t.csv --state t.csv",
        "watch t.vaeb t.csv --state new -o new",
        "evaluate t.vaeb t.npz --plot t.npz --force",
        "export t.csv --calibration t.csv -o t.csv --force",
    ],
)
def test_an_output_that_is_an_input_is_refused_and_nothing_changes(cli: Cli, folder: Path, line: str) -> None:
    before = contents(folder)
    done = cli(*line.format(name=folder.name).split())
    assert (done.code, done.out) == (2, "")
    assert "which this command reads: name " in done.err or "name two files" in done.err
    assert contents(folder) == before


def test_the_device_commands_refuse_it_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    for line in (
        "compress w.vaeb w.npy --exact --force -o w.npy",
        "compress w.vaeb w.npy --exact --force -o w.vaeb",
        "decompress w.vaeb w.npy --force -o w.npy",
    ):
        assert device(line.split()) == 2
        assert "which this command reads" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_result_may_lie_beside_its_pictures(cli: Cli, folder: Path) -> None:
    assert cli("score", "p.vaeb", "pics", "-o", "pics/scores.csv").code == 0
    assert cli("score", "p.vaeb", "pics", "--maps", "pictures-of-maps").code == 0


def test_every_option_that_takes_a_path_is_known_to_be_read_or_written() -> None:
    read = {
        "bundle", "path", "paths", "rows", "labels", "masks", "weights", "calibration", "evaluation", "data", "other",
        "compare", "texts", "latents", "around", "cache", "compress_rows", "target",
    }  # fmt: skip
    for module in vars(_app).values():
        if hasattr(module, "NAME") and hasattr(module, "run"):
            for name, parameter in inspect.signature(module.run, eval_str=True).parameters.items():
                if "Path" in str(parameter.annotation):
                    assert name in {*read, *_apart.WRITTEN}, f"{module.NAME} {name}: add it to one of the two"
