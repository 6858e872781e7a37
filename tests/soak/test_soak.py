"""Long and large, opt-in: ``make soak``. Memory stays flat over ten million scores and bounded over a 10 GB file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bundle import TinyBundle
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load

pytestmark = pytest.mark.soak
SCORES = 10_000_000
FEATURES, FILE_BYTES = 40_000, 10 << 30


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def test_memory_is_flat_over_ten_million_scores(tmp_path: Path) -> None:
    path = TinyBundle(tmp_path / "tiny.vaeb").write()
    rows = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    with load(path, device="cpu", threads=1) as vae:
        expected = vae.score(rows).score
        for _ in range(10_000):
            vae.score(rows)
        before, start = anonymous_mb(), time.perf_counter()
        for _ in range(SCORES // 64):
            last = vae.score(rows)
        grown, seconds = anonymous_mb() - before, time.perf_counter() - start
    np.testing.assert_array_equal(last.score, expected)
    print(f"{SCORES:,} scores in {seconds:.0f} s, memory grew by {grown:.2f} MB")
    assert grown < 1.0


class Wide(nn.Module):
    """Linear, 40,000 features: the file is large, the model is not."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.logvar = nn.Linear(FEATURES, 2), nn.Linear(FEATURES, 2)
        self.back = nn.Linear(2, FEATURES)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.logvar(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.back(z)


_SCORE = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[3]), int(sys.argv[3])))
import numpy as np
from vae_edge_runtime import load
x = np.load(sys.argv[2], mmap_mode="r")
with load(sys.argv[1], device="cpu", threads=1) as vae:
    s = vae.score(x)
peak = next(l for l in open("/proc/self/status") if l.startswith("VmData"))
print(json.dumps({"rows": len(s), "scored": int(s.ok.sum()), "distinct": len(np.unique(s.score)), "data": peak}))
"""


def test_a_file_of_10_gb_is_scored_in_half_a_gigabyte(tmp_path: Path) -> None:
    torch.manual_seed(0)
    calibration = np.random.default_rng(0).normal(size=(150, FEATURES)).astype(np.float32)
    bundle = tmp_path / "wide.vaeb"
    export(
        Wide().eval(),
        bundle,
        calibration=calibration,
        config=ExportConfig(layout="features", allow_poor_fit=True),
        scale_form="logvar",
    )
    n = FILE_BYTES // (4 * FEATURES)
    x = np.lib.format.open_memmap(tmp_path / "large.npy", mode="w+", dtype=np.float32, shape=(n, FEATURES))
    x[n // 2, :] = 1.0  # all else is a hole in the file
    x.flush()
    del x
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _SCORE, str(bundle), str(tmp_path / "large.npy"), str(512 << 20)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{n:,} rows of {FILE_BYTES / 1e9:.1f} GB in {time.perf_counter() - start:.0f} s: {found}")
    assert (found["rows"], found["scored"], found["distinct"]) == (n, n, 2)
