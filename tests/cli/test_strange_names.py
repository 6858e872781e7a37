"""Names and words of a command line that cannot be kept or looked at: one line before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle, windows
from shell import Cli

from vae_edge.cli import _app
from vae_edge_export import ExportConfig
from vae_edge_runtime.errors import OptionError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other rules for names")
TABLE, PICTURE, LONG = CORPUS / "v1-table.vaeb", CORPUS / "v1-picture.vaeb", "x" * 300


@pytest.mark.parametrize(
    "line",
    [
        "score {t} t.csv -o {long}.csv",
        "score {t} {long}.csv",
        "score {p} pics --maps {long}",
        "score {t} tables -o {long}",
        "watch {t} t.csv -o {long}.jsonl",
        "watch {t} t.csv --state {long}.state",
        "watch {w} t.csv --compress {long}.vaez --exact",
        "watch {t} {long}.csv --follow",
        "compress {w} w.npy --exact -o {long}.vaez",
        "decompress {w} {long}.vaez -o x.npy",
        "recalibrate {t} t.csv -o {long}.vaeb",
        "report {t} t.csv -o {long}.html",
        "sample {t} -o {long}.npy",
        "encode {t} t.csv -o {long}.npz",
        "unpack {t} -o {long}",
        "evaluate {t} t.csv --labels {long}.csv",
        "train mlp --data {long}.csv -o run",
        "train mlp --data t.csv -o {long}",
        "export {long} --calibration t.csv -o x.vaeb",
        "export t.csv --calibration t.csv -o {long}.vaeb",
        "info {long}.vaeb",
    ],
)
def test_a_name_that_the_system_does_not_look_at_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pillow = pytest.importorskip("PIL.Image")
    for folder in ("pics", "tables"):
        (tmp_path / folder).mkdir()
    pillow.new("RGB", (12, 12), 9).save(tmp_path / "pics" / "a.png")
    np.save(tmp_path / "w.npy", windows(20, 1))
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    for path in (tmp_path / "t.csv", tmp_path / "tables" / "t.csv"):
        np.savetxt(path, rows, delimiter=",", header="a,b,c,d,e,f", comments="")
    done = cli(*line.format(t=TABLE, p=PICTURE, w=window_bundle(), long=LONG).split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert "(File name too long)" in done.err or "No such file" in done.err


def test_a_file_in_a_folder_of_somebody_else_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    for line in (
        ("score", TABLE, tmp_path / "locked" / "t.csv"), ("sample", TABLE, "-o", tmp_path / "locked" / "t.npy"),
        ("info", tmp_path / "locked" / "t.vaeb"), ("watch", TABLE, tmp_path / "locked" / "t.csv"),
    ):  # fmt: skip
        done = cli(*line)
        assert (done.code, done.err.count("\n"), "Permission denied" in done.err) == (2, 1, True), done.err


@pytest.mark.parametrize("field", ["name", "version", "licence", "source", "description", "names"])
@pytest.mark.parametrize("text", ["\x1b[31mred", "half \ud800", "\udcff"])
def test_words_that_no_manifest_may_hold_are_refused_before_the_export(field: str, text: str) -> None:
    with pytest.raises(OptionError, match="which is not text"):
        ExportConfig(**{field: (text,) if field == "names" else text})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="name is empty"):
        ExportConfig(name=" ")


def test_an_output_whose_name_is_no_text_gives_the_model_a_name_that_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "from torch import nn\n\n\n"
        "def build():\n    return nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (1, 2, 4)))\n"
    )
    output = tmp_path / os.fsdecode(b"\xff\x1b.vaeb")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.chdir(tmp_path)
        done = cli(
            "export", "model:build", "--for", "generation", "--latent-shape", "3", "--layout", "nchw", "-o", output
        )
    assert done.code == 0, done.err
    assert cli("info", output, "--json").json()["manifest"]["model"]["name"] == r"\udcff\x1b"


def test_no_command_shows_a_warning_of_numpy() -> None:
    def overflowing() -> None:
        assert np.float32(3e38) * np.float32(10) == np.inf
        assert np.isnan(np.float32(np.inf) * np.float32(0))
        raise OptionError("it came so far")

    command = _app._with_shared_options("x", overflowing)
    with pytest.raises(OptionError, match="it came so far"):
        command(verbose=False, quiet=False)
