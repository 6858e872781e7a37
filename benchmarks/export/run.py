"""Peak memory and time of exports and scores of large rows: ``python benchmarks/export/run.py``.

Each case runs in a process of its own, whose peak resident memory the system counts. Weights are random: sizes and
times do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CASES = ("export-256", "score-512-1", "score-512-8", "score-512-64")
SD_CASES = ("export-sd-512", "export-sd-512-free", "generate-sd-64", "generate-sd-256", "generate-sd-512")
"""The diffusers autoencoder of 84 M parameters; they take minutes, need diffusers, and run when they are named."""


def _model(channels: int, steps: int) -> object:
    import torch
    from torch import nn

    class Convolutional(nn.Module):
        """Two convolutions at full size, then ``steps`` halvings; every layer has ``channels``."""

        def __init__(self) -> None:
            super().__init__()
            down: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1), nn.SiLU()]
            up: list[nn.Module] = []
            for _ in range(steps):
                down += [nn.Conv2d(channels, channels, 4, 2, 1), nn.SiLU()]
                up += [nn.ConvTranspose2d(channels, channels, 4, 2, 1), nn.SiLU()]
            self.inner, self.head = nn.Sequential(*down), nn.Conv2d(channels, 8, 1)
            self.outer = nn.Sequential(nn.Conv2d(4, channels, 1), *up, nn.Conv2d(channels, 3, 3, 1, 1), nn.Sigmoid())

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.head(self.inner(x)).chunk(2, 1)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return self.outer(z)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean, logvar = self.encode(x)
            return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))

    torch.manual_seed(0)
    return Convolutional().eval()


def _export(path: Path, size: int, rows: int, channels: int, steps: int) -> dict[str, float]:
    import numpy as np

    from vae_edge_export import ExportConfig, export

    frames = np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), dtype=np.uint8)
    config = ExportConfig(layout="nhwc", scale=(255.0,), false_positive_rate=0.05, allow_poor_fit=True)
    return dict(export(_model(channels, steps), path, calibration=frames, config=config, force=True).seconds)


def _export_sd(path: Path, weights: Path, *, free: bool) -> dict[str, float]:
    """12 rows of 512 x 512: 10 calibrate, 2 are held out."""
    import sd_size

    from vae_edge_export import ExportConfig, export

    config: dict[str, Any] = {"layout": "nhwc", "offset": (127.5,), "scale": (127.5,), "false_positive_rate": 0.1}
    if free:
        config["dynamic_size"] = True
    start = time.perf_counter()

    def say(stage: str) -> None:
        print(f"{time.perf_counter() - start:7.1f} s {_peak_mib():6d} MiB  {stage}", file=sys.stderr, flush=True)

    report = export(
        sd_size.model(weights), path, calibration=sd_size.pictures(12, 512, 512), progress=say, force=True,
        config=ExportConfig(**config, allow_poor_fit=True),
    )  # fmt: skip
    for line in (*report.evidence, *report.warnings):
        print(line, file=sys.stderr)
    return dict(report.seconds)


def _generate_sd(path: Path, weights: Path, size: int) -> dict[str, float]:
    """Encoder and decoder alone, of free height and width, verified with 3 rows."""
    import sd_size

    from vae_edge_export import ExportConfig, export_for_generation

    start = time.perf_counter()

    def say(stage: str) -> None:
        print(f"{time.perf_counter() - start:7.1f} s, {time.process_time():6.1f} s of CPU, {_peak_mib()} MiB  {stage}",
              file=sys.stderr, flush=True)  # fmt: skip

    config = ExportConfig(layout="nhwc", offset=(127.5,), scale=(127.5,), dynamic_size=True, allow_poor_fit=True)
    report = export_for_generation(
        sd_size.model(weights), path, rows=sd_size.pictures(3, size, size), config=config, force=True, progress=say
    )
    for line in (*report.evidence, *report.warnings, str(report.fit), str(report.parity)):
        print(line, file=sys.stderr)
    return dict(report.seconds)


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _score(path: Path, rows: int) -> dict[str, float]:
    import numpy as np

    from vae_edge_runtime import load

    frames = np.random.default_rng(0).integers(0, 256, (rows, 512, 512, 3), dtype=np.uint8)
    with load(path, device="cpu", threads=1) as vae:
        vae.score(frames[:1])
        start = time.perf_counter()
        vae.score(frames)
        return {"score": time.perf_counter() - start}


def _case(name: str, folder: Path, weights: Path) -> dict[str, object]:
    """Run one case in this process."""
    large = folder / "large.vaeb"
    runs: dict[str, Callable[[], dict[str, float]]] = {
        "export-256": lambda: _export(folder / "export.vaeb", 256, 64, 32, 4),
        "export-sd-512": lambda: _export_sd(folder / "sd.vaeb", weights, free=False),
        "export-sd-512-free": lambda: _export_sd(folder / "sd.vaeb", weights, free=True),
        **{f"generate-sd-{n}": (lambda n=n: _generate_sd(folder / f"sd-{n}.vaeb", weights, n)) for n in (64, 256, 512)},
        "bundle-512": lambda: _export(large, 512, 26, 8, 5),
        **{f"score-512-{n}": (lambda n=n: _score(large, n)) for n in (1, 8, 64)},
    }
    start = time.perf_counter()
    seconds = runs[name]()
    return {
        "case": name,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_mib": _peak_mib(),
        "stages": {stage: round(value, 2) for stage, value in seconds.items()},
    }


def main() -> int:
    """Run every case asked for, one process each, and print a line of JSON per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--weights", type=Path, default=Path("sd.pt"), help="of sd_size.py; else random ones")
    parser.add_argument("--inside", default="", help="folder of the bundle; runs one case in this process")
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(_case(given.cases[0], Path(given.inside), given.weights)), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        needs_bundle = any(case.startswith("score") for case in given.cases)
        for case in [*(["bundle-512"] if needs_bundle else []), *given.cases]:
            command = [sys.executable, __file__, case, "--inside", folder, "--weights", str(given.weights)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            print(done.stdout.strip() or f"{case}: ended with {done.returncode}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
