"""What ``train`` prints as the next step runs as it is printed, with a file of rows in the place of NORMAL_ROWS."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import Cli

from vae_edge_runtime import load

RNG = np.random.default_rng(0)
SMALL = ("--latent", 2, "--width", 8, "--depth", 1, "--epochs", 2)


def next_command(text: str) -> list[str]:
    (line,) = re.findall(r"next: vae-edge (.*)", text)
    return shlex.split(line)


def series(rows: int) -> np.ndarray:
    """Two columns that share a cycle of 12 rows."""
    phase = np.arange(rows) * 2 * np.pi / 12
    return np.stack([np.sin(phase), np.cos(phase) * 2 + 1], 1) + 0.01 * RNG.normal(size=(rows, 2))


def table(path: Path, rows: int) -> None:
    lines = [f"{i};{str(a).replace('.', ',')};{str(b).replace('.', ',')}" for i, (a, b) in enumerate(series(rows))]
    path.write_text("written by a logger\nid;temp;pressure\n" + "\n".join(lines) + "\n")


def pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for i in range(count):
        pixels = np.clip(RNG.normal(128, 10, (12, 10)) + 60 * np.sin(i + np.arange(10) / 2), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


TABLE = ("--drop-columns", "id", "--skip-lines", 1, "--decimal", ",", "--delimiter", ";")
KINDS = {
    "mlp, a table": ("mlp", table, TABLE),
    "sequence, windows of a table": ("sequence", table, (*TABLE, "--window", 12)),
    "mlp, windows of a table": ("mlp", table, (*TABLE, "--window", 6, "--stride", 2)),
    "conv, pictures that are resized": ("conv", pictures, ("--image-size", "8x8")),
    "conv, pictures that are cut to a size": ("conv", pictures, ("--image-size", "8x8", "--fit", "crop")),
    "conv, pictures in tiles": ("conv", pictures, ("--tile", 8, "--overlap", 2)),
    "conv, an array": ("conv", None, ("--layout", "nchw")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_step_runs_as_printed(kind: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, make, options = KINDS[kind]
    normal, good = ("normal.npy", "good.npy") if make is None else ("normal.csv", "good.csv")
    if make is None:
        for name, count in ((normal, 60), (good, 60)):
            phase = RNG.uniform(0, 6, (count, 1, 1, 1))
            waves = 0.5 + 0.4 * np.sin(phase + np.arange(8) / 2) * np.ones((count, 1, 8, 8))
            np.save(name, waves.astype(np.float32))
    else:
        normal, good = ("normal", "good") if make is pictures else (normal, good)
        make(Path(normal), 60 if make is pictures else 900)
        make(Path(good), 60 if make is pictures else 1500)
    trained = cli("train", model, "--data", normal, *SMALL, *options, "-o", "my run")
    assert trained.code == 0, trained.err
    command = next_command(trained.err)
    assert command[command.index("--calibration") + 1] == "NORMAL_ROWS"
    command[command.index("NORMAL_ROWS")] = good
    # Two epochs teach little, and these few rows are too few for the usual rate.
    done = cli(*command, "--false-positive-rate", 0.05, "--allow-poor-fit")
    assert done.code == 0, done.err
    assert Path("model.vaeb").is_file()
    if "--image-size" in options:  # the bundle brings pictures of other sizes to its own by the same rule
        with Image.open("good/0.png") as picture:
            picture.resize((20, 16)).save("good/0.png")
        assert cli("score", "model.vaeb", "good", "-o", "scores.csv").code == 0
        with load("model.vaeb", device="cpu") as vae:
            assert vae.manifest.input.fit == ("crop" if "crop" in options else "stretch")
    if "--window" in options:
        length = options[options.index("--window") + 1]
        assert f"windows of {length} rows, one every {length}" in done.err


def test_too_few_windows_without_overlap_say_how_to_have_more(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rows in (("normal.csv", 400), ("good.csv", 400)):
        table(Path(name), rows)
    trained = cli("train", "mlp", "--data", "normal.csv", *SMALL, *TABLE, "--window", 12, "-o", "run")
    command = [good if (good := word) != "NORMAL_ROWS" else "good.csv" for word in next_command(trained.err)]
    command += ["--false-positive-rate", "0.02", "--allow-poor-fit"]
    refused = cli(*command)
    assert refused.code == 2
    (stride,) = re.findall(r"--stride (\d+) for overlapping windows", refused.err)
    assert int(stride) == 3
    done = cli(*command, "--stride", stride)
    assert done.code == 0, done.err
