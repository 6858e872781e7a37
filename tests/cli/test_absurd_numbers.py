"""Numbers on a command line that no machine can serve: one line and exit code 2 before memory is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle
from shell import Cli

from vae_edge.cli import score
from vae_edge_runtime import __main__ as device

PICTURE, TABLE = CORPUS / "v1-picture.vaeb", CORPUS / "v1-table.vaeb"


@pytest.mark.parametrize("number", ["1000000000000", "9" * 60])
@pytest.mark.parametrize(
    "line",
    [
        "sample {picture} -n {n} -o x.npy",
        "interpolate {picture} pics.npy --steps {n} -o x.npy",
        "score {picture} pics --image-size {n}x2",
        "train conv --data pics --image-size {n}x{n} -o run",
        "watch {picture} pics --image-size {n}x2",
    ],
)
def test_more_than_a_command_makes_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, number: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "pics").mkdir()
    pillow.new("RGB", (12, 12), 9).save(tmp_path / "pics" / "a.png")
    np.save(tmp_path / "pics.npy", np.zeros((2, 12, 12, 3), np.uint8))
    done = cli(*line.format(picture=PICTURE, n=number).split())
    assert (done.code, done.out) == (2, "")
    assert any(said in done.err for said in ("more than the", "fit in no memory", "write HEIGHTxWIDTH")), done.err
    assert not list(tmp_path.glob("x*"))


def test_latents_named_a_hundred_thousand_times_are_refused(cli: Cli, tmp_path: Path) -> None:
    done = cli("traverse", PICTURE, "--latents", ",".join(["0"] * 30_000), "--steps", 100, "-o", tmp_path / "x.png")
    assert (done.code, "more than the" in done.err) == (2, True), done.err


@pytest.mark.parametrize("rate", ["1e-320", "5e-324"])
@pytest.mark.parametrize("method", ["conformal", "tail"])
def test_a_rate_that_no_number_of_rows_can_back_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, rate: str, method: str
) -> None:
    np.save(tmp_path / "t.npy", np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32))
    new = tmp_path / "new.vaeb"
    done = cli(
        "recalibrate", TABLE, tmp_path / "t.npy", "-o", new, "--false-positive-rate", rate, "--threshold-method", method
    )
    assert (done.code, f"a false-positive rate of {float(rate):g}" in done.err) == (2, True), done.err
    assert not new.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("score {table} t.npy --threshold nan", "threshold is nan; pass a finite number"),
        ("score {table} t.npy --head kl --threshold inf", "threshold is inf; pass a finite number"),
        ("report {table} t.npy --class-column kind -o r.html", "--class-column names kinds of labelled anomalies"),
        ("train mlp --data t.npy --overlap 4 -o run", "--overlap is of tiles"),
        ("train mlp --data t.npy --free-bits 1e308 -o run", "all numbers of float32"),
        ("train mlp --data t.npy --beta 1e39 -o run", "all numbers of float32"),
        ("tune {table} --rounds 99999999999999999999 --dry-run", "100000"),
        ("bench {table} --rounds 99999999999999999999", "100000"),
        ("bench {table} --seconds inf", "86400"),
        ("bench {table} --starts 99999999999", "1000"),
    ],
)
def test_an_option_that_can_mean_nothing_is_refused_and_not_ignored(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))
    done = cli(*line.format(table=TABLE).split())
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not list(tmp_path.glob("r*"))


@pytest.mark.parametrize("path", ["", "/", ".."])
def test_what_is_no_name_of_a_file_is_refused(cli: Cli, tmp_path: Path, path: str) -> None:
    np.savetxt(tmp_path / "t.csv", np.zeros((3, 5)), delimiter=",", header="a,b,c,d,e", comments="")
    done = cli("watch", window_bundle(), tmp_path / "t.csv", "--latents", f"--compress={path}")
    assert (done.code, "is no regular file" in done.err) == (2, True), done.err


def test_too_little_memory_is_no_bug(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        np.empty(1 << 60, np.uint8)

    np.save(tmp_path / "t.npy", np.zeros((2, 6), np.float32))
    monkeypatch.setattr(score, "load", full)
    done = cli("score", TABLE, tmp_path / "t.npy")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "too little memory (Unable to allocate 1.00 EiB" in done.err
    monkeypatch.setattr(device, "load", full)
    assert device.main(["score", str(TABLE), str(tmp_path / "t.npy")]) == 3
    assert "too little memory" in capsys.readouterr().err
