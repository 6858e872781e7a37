"""vae-edge export --for generation, and what every other command makes of such a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import Cli

from vae_edge_runtime import standard_normal

MODEL = """
import torch
from torch import nn
class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.back = nn.Linear(16, 6), nn.Linear(3, 16)
    def encode(self, x):
        return self.body(x.flatten(1)).chunk(2, 1)
    def decode(self, z):
        return torch.sigmoid(self.back(z)).view(-1, 1, 4, 4)
    def forward(self, x):
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar
class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Vae()
    def forward(self, z):
        return self.inner.decode(z)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "painted.py").write_text(MODEL)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).uniform(size=(20, 1, 4, 4)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_model_without_rows_and_the_commands_that_use_it(cli: Cli, here: Path) -> None:
    options = ("--for", "generation", "--shape", "1,4,4", "--layout", "nchw", "-o", "g.vaeb", "--json")
    report = cli("export", "painted:Vae", *options).json()["report"]
    assert report["purpose"] == "generation"
    assert report["samples"]["rows"] == 64
    assert cli("verify", "g.vaeb").code == 0
    shown = cli("info", "g.vaeb").out
    assert "exported for      samples, encode and decode; it has no scores and no thresholds" in shown
    assert "64 samples from" in shown
    assert "heads" not in shown
    for command in (
        ("sample", "g.vaeb", "-n", 4, "-o", "s.png"),
        ("reconstruct", "g.vaeb", "rows.npy", "-o", "r.npy"),
        ("encode", "g.vaeb", "rows.npy", "-o", "z.npz"),
        ("decode", "g.vaeb", "z.npz", "-o", "d.npy"),
        ("interpolate", "g.vaeb", "rows.npy", "-o", "i.npy"),
        ("traverse", "g.vaeb", "-o", "t.npy"),
    ):
        assert cli(*command).code == 0
    np.testing.assert_array_equal(np.load("r.npy"), np.load("d.npy"))
    assert np.load("t.npy").shape == (3 * 9, 1, 4, 4)


def test_a_decoder_alone_is_sampled_and_its_latents_are_interpolated(cli: Cli, here: Path) -> None:
    options = ("--for", "generation", "--latent-shape", "3", "--layout", "nchw", "-o", "d.vaeb")
    ended = cli("export", "painted:Decoder", *options)
    assert ended.code == 0
    assert "drawn from N(0, I)" in ended.err
    z = standard_normal(6, seed=3).reshape(2, 3)
    np.save("z.npy", z)
    assert cli("interpolate", "d.vaeb", "z.npy", "--steps", 3, "-o", "i.npy").code == 0
    np.save("line.npy", np.stack([z[0], (z[0] + z[1]) / 2, z[1]]))
    assert cli("decode", "d.vaeb", "line.npy", "-o", "line_rows.npy").code == 0
    np.testing.assert_allclose(np.load("i.npy"), np.load("line_rows.npy"), rtol=1e-6)
    ended = cli("interpolate", "d.vaeb", "z.npy", "--last", 2, "-o", "no.npy")
    assert (ended.code, "there is no row 2" in ended.err) == (2, True)
    ended = cli("reconstruct", "d.vaeb", "rows.npy", "-o", "no.npy")
    assert (ended.code, "NotExported" in ended.err) == (2, True)
    assert "it is a decoder alone" in cli("info", "d.vaeb").out


@pytest.mark.parametrize(
    "command",
    [
        ("score", "g.vaeb", "rows.npy"),
        ("score", "g.vaeb", "bytes.npy"),  # rows that do not fit must not hide it
        ("explain", "g.vaeb", "bytes.npy"),
        ("report", "g.vaeb", "bytes.npy", "-o", "r.html"),
        ("explain", "g.vaeb", "rows.npy"),
        ("watch", "g.vaeb", "rows.npy"),
        ("evaluate", "g.vaeb", "labelled.npz"),
        ("report", "g.vaeb", "labelled.npz", "-o", "r.html"),
        ("bench", "g.vaeb", "--seconds", "0.1"),
        ("tune", "g.vaeb"),
        ("compare", "g.vaeb", "g.vaeb"),
        ("recalibrate", "g.vaeb", "rows.npy", "-o", "h.vaeb"),
        ("compress", "g.vaeb", "rows.npy", "-o", "c.vaez"),
    ],
    ids=lambda command: command[0],
)
def test_commands_that_score_say_in_one_line_how_to_export_for_that(
    command: tuple[str, ...], cli: Cli, here: Path
) -> None:
    np.savez("labelled.npz", x=np.load("rows.npy"), y=np.arange(20) % 2)
    np.save("bytes.npy", np.zeros((20, 3), np.uint8))
    for source, shape in (("Vae", "--shape=1,4,4"), ("Decoder", "--latent-shape=3")):
        options = ("--for", "generation", shape, "--layout", "nchw", "-o", "g.vaeb", "--force")
        assert cli("export", f"painted:{source}", *options).code == 0
        ended = cli(*command, "-q")
        assert ended.code == 2
        (line,) = ended.err.strip().splitlines()
        assert line.startswith("NotExported: the bundle of g was exported for generation")
        assert "with calibration rows" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for", "generation", "--heads", "elbo", "--shape", "1,4,4"), "--heads is about scores"),
        (("--for", "generation", "--precision", "fp16", "--shape", "1,4,4"), "--precision is about scores"),
        (("--for", "generation"), "--latent-shape 16"),
        (("--for", "sampling"), "valid are scoring, generation"),
        ((), "--for generation"),
        (("--shape", "1,4,4", "--calibration", "rows.npy"), "--shape and --latent-shape are for --for generation"),
        (("--for", "generation", "--shape", "1,x"), "no whole number"),
        (("--for", "generation", "--latent-shape", "8000000000000"), "a row has at most"),
    ],
)
def test_options_that_do_not_fit_the_purpose_are_refused(
    options: tuple[str, ...], said: str, cli: Cli, here: Path
) -> None:
    ended = cli("export", "painted:Vae", *options, "-o", "g.vaeb")
    assert ended.code == 2
    assert said in ended.err
    assert not Path("g.vaeb").exists()


def test_an_unpacked_bundle_for_generation_has_a_program_that_decodes(cli: Cli, here: Path) -> None:
    options = ("--for", "generation", "--shape", "1,4,4", "--layout", "nchw", "-o", "g.vaeb")
    assert cli("export", "painted:Vae", *options).code == 0
    assert cli("unpack", "g.vaeb", "-o", "plain").code == 0
    page = Path("plain/README.md").read_text(encoding="utf-8")
    assert "no graph scores" in page
    program = page.split("```python\n")[1].split("```")[0]
    assert "decode.onnx" in program
    compile(program, "README.md", "exec")
