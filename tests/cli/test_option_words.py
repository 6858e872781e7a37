"""What a command says is in the words of its own command line: options, quoted names, plain numbers."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import window_bundle, windows
from shell import Cli, World
from tiny_bundle import TinyBundle

from vae_edge_runtime.stdio import in_options

OPTIONS = ("force", "device", "deadline", "precision", "layout", "bound")
FLAGS = {name: f"--{name}" for name in OPTIONS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pass force=True (--force) to replace it", "pass --force to replace it"),
        ('pass device="cpu", or wait', "pass --device cpu, or wait"),
        ("load(path, device='cpu') decompresses", "--device cpu decompresses"),
        ("--layout nchw (layout='nchw') for pictures", "--layout nchw for pictures"),
        ("--layout nchw (in Python layout='nchw'), or nhwc", "--layout nchw, or nhwc"),
        ("say one of bound=, exact=True", "say one of --bound, exact=True"),
        ("deadline_s=3 and precisions=('a', 'b')", "--deadline 3 and precisions=('a', 'b')"),
        ("encode=lambda m, x: m(x), layout=lambda x: x", "encode=lambda m, x: m(x), layout=lambda x: x"),
        ("a row of shape (5,)", "a row of shape (5)"),
        ("a=b, x==1, MAX=3", "a=b, x==1, MAX=3"),
    ],
)
def test_arguments_of_the_library_become_options_that_the_command_has(text: str, said: str) -> None:
    assert in_options(text, FLAGS) == said


def test_a_refusal_names_the_options_of_its_command(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", windows(30, 4))
    refused = cli("compress", window_bundle(), tmp_path / "rows.npy", "-o", tmp_path / "d.vaez")
    assert "say one of --bound, --exact and --latents: how near" in refused.err


def test_rows_of_another_bundle_are_said_before_tables_that_would_not_help(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", windows(30, 4))
    done = cli("compress", window_bundle(), tmp_path / "rows.npy", "--exact", "-o", tmp_path / "d.vaez")
    assert done.code == 0, done.err
    bundle = TinyBundle(tmp_path / "tiny.vaeb").write()
    refused = cli("decompress", bundle, tmp_path / "d.vaez", "-o", tmp_path / "back.npz")
    pair = cli("info", tmp_path / "d.vaez", "--json").json()["pair_id"]
    assert refused.err.startswith(f"PairMismatch: another bundle compressed these rows: its model is {pair} (pair id)")
    assert "recalibrate" not in refused.err


def test_the_next_step_can_be_pasted_whatever_the_files_are_called(cli: Cli, world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "pump 'A'.vaeb"
    done = cli("export", world.folder / "run", "--calibration", world.folder / "normal.csv", "-o", bundle)
    assert done.code == 0, done.err
    first, second = done.err[done.err.index("next: ") + len("next: ") :].splitlines()[:2]
    assert shlex.split(first) == ["vae-edge", "verify", str(bundle)]
    assert shlex.split(second) == ["vae-edge", "score", str(bundle), "ROWS"]
