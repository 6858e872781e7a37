"""Models of every kind from the shell: inspect, weights, conditions, codes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from shell import Cli

from vae_edge_runtime import load

ZOO = Path(__file__).parents[1] / "zoo"
RNG = np.random.default_rng(0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with models, as the command line imports them."""
    for name in ("handmade", "handmade_codes"):
        shutil.copy(ZOO / f"{name}.py", tmp_path / f"{name}.py")
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "glue.py").write_text(
        "def codes(m, x):\n    return m.quantise(x)\n\n\ndef paint(m, i):\n    return m.paint(i)\n"
    )
    monkeypatch.delitem(sys.modules, "glue", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_inspect_says_what_was_found_and_writes_nothing(cli: Cli, here: Path) -> None:
    before = sorted(here.iterdir())
    found = cli("inspect", "handmade:BoltsStyle", "--shape", "1,16,16")
    assert found.code == 0, found.err
    assert "then the heads 'fc_mu' and 'fc_var'" in found.out
    assert "the spread of a latent is given as logvar (scale_form): measured in its forward" in found.out
    assert re.search(r"^encode .*x\[1, 16, 16\].*mean\[6\] logvar\[6\].*dynamo$", found.out, re.M)
    assert found.out.endswith("nothing stands in the way of an export\n")
    assert sorted(p for p in here.iterdir() if p.name != "__pycache__") == before


def test_inspect_exits_with_1_and_the_remedy_where_something_is_in_the_way(cli: Cli, here: Path) -> None:
    found = cli("inspect", "handmade:Logvar", "--shape", "7", "--json")
    assert found.code == 1
    document = found.json()
    assert document["ok"] is False
    assert "encode failed on rows of shape (3, 7)" in document["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what a row is"),
        (("--shape", "a"), "write the sizes of one row"),
        (("--shape", "0,3"), "write the sizes"),
        (("--shape", "6", "--offset", "inf"), "--offset is of rows in a file"),
        (("--shape", "6", "--layout", "nhwc"), "--layout is of rows in a file"),
        (("--shape", "9" * 20), "write the sizes"),
        (("--shape", "99999999999,99999999999"), "a row has at most 268,435,456"),
    ],
)
def test_inspect_needs_a_row(cli: Cli, here: Path, arguments: tuple[str, ...], said: str) -> None:
    found = cli("inspect", "handmade:Logvar", *arguments)
    assert found.code == 2
    assert said in found.err


def test_a_checkpoint_needs_trust_and_is_then_the_model(cli: Cli, here: Path) -> None:
    import handmade

    torch.manual_seed(5)
    model = handmade.Logvar().eval()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state}, "last.ckpt")
    rows = RNG.normal(size=(150, 6)).astype(np.float32)
    np.save("rows.npy", rows)
    command = ("export", "handmade:Logvar", "--weights", "last.ckpt", "--calibration", "rows.npy", "-o", "m.vaeb")
    refused = cli(*command)
    assert refused.code == 2
    assert "--trust-pickle" in refused.err
    assert not (here / "m.vaeb").exists()
    done = cli(*command, "--trust-pickle")
    assert done.code == 0, done.err
    assert "weights lie under 'model.'" in done.err
    with load("m.vaeb", device="cpu") as vae, torch.no_grad():
        np.testing.assert_allclose(vae.encode(rows[:5]).mean, model.encode(torch.from_numpy(rows[:5]))[0], rtol=1e-5)


def test_a_conditional_model_from_export_to_scores_and_samples(cli: Cli, here: Path) -> None:
    rows, labels = RNG.normal(size=(150, 6)).astype(np.float32), RNG.integers(0, 5, 150)
    np.savez("rows.npz", x=rows, condition=labels)
    np.save("bare.npy", rows)
    done = cli("export", "handmade:LabelConditional", "--calibration", "rows.npz", "-o", "c.vaeb")
    assert done.code == 0, done.err
    scored = cli("score", "c.vaeb", "rows.npz")
    assert scored.code == 0, scored.err
    found = np.array([float(line["score"]) for line in csv.DictReader(io.StringIO(scored.out))], np.float32)
    with load("c.vaeb", device="cpu") as vae:
        np.testing.assert_allclose(found, vae.score(rows, condition=labels).score, rtol=1e-6)
        wanted = vae.sample(2, seed=3, condition=4)
    light = subprocess.run(
        [sys.executable, "-m", "vae_edge_runtime", "score", "c.vaeb", "rows.npz"], capture_output=True, text=True
    )
    np.testing.assert_allclose([json.loads(line)["score"] for line in light.stdout.splitlines()], found, rtol=1e-6)
    assert cli("sample", "c.vaeb", "-n", 2, "--seed", 3, "--condition", 4, "-o", "s.npy").code == 0
    np.testing.assert_array_equal(np.load("s.npy"), wanted)
    assert cli("reconstruct", "c.vaeb", "rows.npz", "-o", "r.npy").code == 0
    for command in (("score", "c.vaeb", "bare.npy"), ("sample", "c.vaeb", "-o", "t.npy")):
        refused = cli(*command)
        assert refused.code == 2
        option = "--condition" if command[0] == "sample" else "condition="
        assert f"pass {option}, a label (int64), for every row; an .npz holds it as 'condition'" in refused.err
    for text, said in (("9", "labels 0 to 4"), ("x", "is not a whole number"), ("1,2", "holds 2 numbers")):
        refused = cli("sample", "c.vaeb", "--condition", text, "-o", "t.npy")
        assert refused.code == 2
        assert said in refused.err


def test_a_vq_model_from_export_to_indices(cli: Cli, here: Path) -> None:
    pictures = RNG.random((150, 1, 16, 16)).astype(np.float32)
    np.save("rows.npy", pictures)
    np.save("prior.npy", np.eye(12)[3:4])
    halves = ("--encode", "glue:codes", "--decode", "glue:paint")
    command = ("export", "handmade_codes:Quantised", "--calibration", "rows.npy", "--layout", "nchw", *halves)
    done = cli(*command, "--prior", "prior.npy", "--allow-poor-fit", "-o", "q.vaeb", "--json")
    assert done.code == 0, done.err
    assert "encode.indices" in done.json()["report"]["parity"]
    assert cli("encode", "q.vaeb", "rows.npy", "-o", "codes.npz").code == 0
    codes = np.load("codes.npz")
    assert sorted(codes.files) == ["indices", "mean", "status"]
    assert codes["indices"].shape == (150, 4, 4)
    assert cli("sample", "q.vaeb", "-n", 2, "-o", "s.npy").code == 0
    with load("q.vaeb", device="cpu") as vae:
        np.testing.assert_array_equal(np.load("s.npy"), vae.decode(np.full((2, 4, 4), 3)))
    scored = cli("score", "q.vaeb", "rows.npy")
    assert next(csv.DictReader(io.StringIO(scored.out)))["kl"] == ""
    assert cli("score", "q.vaeb", "rows.npy", "-o", "s.parquet").code == 0
    assert pyarrow.parquet.read_table("s.parquet").column("kl").null_count == 150
    refused = cli(*command, "--prior", "standard", "-o", "w.vaeb")
    assert refused.code == 2
    assert "valid are standard_normal, fitted, none" in refused.err


def test_info_shows_latent_prior_and_condition(cli: Cli, here: Path) -> None:
    rows = RNG.normal(size=(150, 6)).astype(np.float32)
    np.savez("rows.npz", x=rows, condition=RNG.normal(size=(150, 5)))
    assert cli("export", "handmade:VectorConditional", "--calibration", "rows.npz", "-o", "v.vaeb").code == 0
    shown = cli("info", "v.vaeb").out
    assert re.search(r"^condition +float32 \[5\]", shown, re.M)
    assert re.search(r"^prior +standard_normal: N\(0, I\)", shown, re.M)
