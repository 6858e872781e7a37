"""Targets of forecasts and missing values, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shell import Cli

from vae_edge_runtime import load

MODELS = """
import torch
from quantisers import Forecast, Masked
def forecast():
    torch.manual_seed(0)
    return Forecast()
def masked():
    torch.manual_seed(0)
    return Masked()
"""
OPTIONS = ("--false-positive-rate", "0.05", "--allow-poor-fit")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "industrial.py").write_text(MODELS)
    np.save(tmp_path / "w.npy", rng.normal(size=(60, 12, 3)).astype(np.float32))
    np.save(tmp_path / "t.npy", rng.normal(size=(60, 4, 2)).astype(np.float32))
    x = rng.normal(size=(60, 6)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    np.savetxt(tmp_path / "n.csv", x, "%.6g", ",", header="a,b,c,d,e,f", comments="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_forecast_is_exported_with_its_targets_and_scored_against_others(cli: Cli, here: Path) -> None:
    export = ("export", "industrial:forecast", "--calibration", "w.npy", "-o", "f.vaeb", *OPTIONS)
    ended = cli(*export)
    assert (ended.code, "--target" in ended.err) == (2, True)
    assert cli(*export, "--target", "t.npy").code == 0
    lines = cli("score", "f.vaeb", "w.npy", "--target", "t.npy").out.splitlines()
    assert len(lines) == 61
    with load("f.vaeb", device="cpu") as vae:
        scores = vae.score(np.load("w.npy"), condition=np.load("t.npy")).score
    np.testing.assert_allclose([float(line.split(",")[1]) for line in lines[1:]], scores, rtol=1e-6)
    ended = cli("score", "f.vaeb", "w.npy")
    assert (ended.code, "--target" in ended.err) == (2, True)
    np.save("few.npy", np.load("t.npy")[:5])
    ended = cli("score", "f.vaeb", "w.npy", "--target", "few.npy")
    assert (ended.code, "holds 5 targets, and there are 60 rows" in ended.err) == (2, True)


def test_a_forecast_is_explained_and_recalibrated_with_its_targets(cli: Cli, here: Path) -> None:
    export = ("export", "industrial:forecast", "--calibration", "w.npy", "-o", "f.vaeb", *OPTIONS)
    assert cli(*export, "--target", "t.npy").code == 0
    with load("f.vaeb", device="cpu") as vae:
        scores = vae.score(np.load("w.npy"), condition=np.load("t.npy")).score
    ended = cli("explain", "f.vaeb", "w.npy", "--target", "t.npy", "--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["score"] == pytest.approx(float(scores.max()), rel=1e-6)
    assert len(document["top"]) == 5
    np.save("far.npy", 3 * np.load("t.npy"))
    ended = cli("recalibrate", "f.vaeb", "w.npy", "--target", "far.npy", "-o", "g.vaeb", "--json")
    assert ended.code == 0
    (change, *_) = json.loads(ended.out)["changes"]
    assert change["after"] > 2 * change["before"]
    for command in (("explain", "f.vaeb", "w.npy"), ("recalibrate", "f.vaeb", "w.npy", "-o", "h.vaeb")):
        ended = cli(*command)
        assert (ended.code, "--target" in ended.err) == (2, True)
    ended = cli("recalibrate", "f.vaeb", "--target", "far.npy", "--default-head", "elbo", "-o", "h.vaeb")
    assert (ended.code, "name the rows, too" in ended.err) == (2, True)


def test_empty_cells_are_missing_values_of_a_model_with_a_mask(cli: Cli, here: Path) -> None:
    export = ("export", "industrial:masked", "--calibration", "n.csv", "-o", "m.vaeb", *OPTIONS)
    ended = cli(*export)
    assert (ended.code, "--missing-values" in ended.err) == (2, True)
    assert cli(*export, "--missing-values", "mask").code == 0
    lines = cli("score", "m.vaeb", "n.csv").out.splitlines()[1:]
    assert {line.split(",")[-1] for line in lines} == {"ok"}
    assert "mask              float32 [6]" in cli("info", "m.vaeb").out
