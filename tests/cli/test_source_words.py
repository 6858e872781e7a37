"""SOURCE as people write it: a file of code, an instance, a file of weights, a factory that gives something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import Cli

CODE = """
from torch import nn
import torch

class Vae(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.mu, self.lv, self.out = nn.Linear(6, 2), nn.Linear(6, 2), nn.Linear(2, 6)
    def encode(self, x):
        return {"mu": self.mu(x), "logvar": self.lv(x)}
    def decode(self, z):
        return self.out(z)

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Vae()

class Needs(Vae):
    def __init__(self, config):
        super().__init__()

ready = Vae()
def pair(): return Vae(), None
def named(): return {"model": Vae(), "epoch": 3}
def nothing(): pass
async def later(): return Vae()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "source_words.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "models"))
    return tmp_path


@pytest.mark.parametrize(
    "source", ["source_words:Vae", "models/source_words.py:Vae", "./models/source_words.py:Vae", "source_words:ready"]
)
def test_a_factory_a_file_of_code_and_a_module_are_taken(cli: Cli, here: Path, source: str) -> None:
    found = cli("inspect", source, "--shape", "6")
    assert found.code == 0, found.err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("source_words:pair", "gave a tuple, not a torch.nn.Module, and one at [0]: it must return the module alone"),
        ("source_words:named", "gave a dict, not a torch.nn.Module, and one at ['model']"),
        ("source_words:nothing", "gave a NoneType"),
        ("source_words:later", "gave a coroutine"),
        ("source_words:Needs", "A factory takes no arguments: write one, def build()"),
        ("source_words.Vae", "write source_words:Vae"),
        ("models/source_words.py", "is a module: say what builds the model in it, models/source_words.py:NAME"),
        ("models/absent.py:Vae", "there is no file models/absent.py"),
        ("w.pt", "pkg.module:build --weights w.pt"),
        ("w.safetensors", "pkg.module:build --weights w.safetensors"),
        ("w.vaeb", "is a bundle already: vae-edge info w.vaeb"),
        ("w.onnx", "an export begins with the PyTorch module"),
        ("w.pt2", "encoder.pt2"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(cli: Cli, here: Path, source: str, said: str) -> None:
    if source.startswith("w."):
        (here / source).write_bytes(b"something")
    np.save(here / "x.npy", np.zeros((20, 6), np.float32))
    found = cli("export", source, "--calibration", "x.npy", "-o", "o.vaeb")
    assert found.code == 2
    assert said in found.err
    assert not (here / "o.vaeb").exists()


def test_a_wrapper_names_the_part_that_has_both_halves(cli: Cli, here: Path) -> None:
    found = cli("inspect", "source_words:Wrapped", "--shape", "6")
    assert found.code == 1
    assert "its net has both halves: pass encode=lambda m, x: m.net.encode(x)" in found.out + found.err
