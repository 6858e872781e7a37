"""A signal that asks an export to end is obeyed wherever it comes, in the model and in PyTorch's tracer, too."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

MODEL = """
import os, torch
from torch import nn

class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.out = nn.Linear(6, 4), nn.Linear(2, 6)

    def encode(self, x):
        return self.heads(x).chunk(2, 1)

    def decode(self, z):
        if WHERE == "anywhere" or torch.compiler.is_exporting():
            os.kill(os.getpid(), NUMBER)
        return self.out(z)

    def forward(self, x):
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.randn_like(mean) * torch.exp(logvar / 2)), mean, logvar
"""


@pytest.mark.parametrize("where", ["anywhere", "in the tracer"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_export_and_leaves_no_file(tmp_path: Path, where: str, number: signal.Signals) -> None:
    """Taken for an exception of the model it was lost, and the export went on to its end with exit code 0."""
    (tmp_path / "painted.py").write_text(f"WHERE, NUMBER = {where!r}, {int(number)}\n{MODEL}")
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32))
    command = [sys.executable, "-m", "vae_edge", "export", "painted:Vae", "--calibration", "rows.npy", "-o", "m.vaeb",
               "--allow-poor-fit"]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False,
        # Whoever runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == (130 if number == signal.SIGINT else -number), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["painted.py", "rows.npy"]
