"""From nothing to the first score, in fresh processes: how long, and how much memory at the most.

Called without --job it starts the two jobs in turn, several times each, and writes the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = 5


def bundle_job(model: Path, data: Path) -> float:
    import numpy as np

    from vae_edge_runtime import load

    with load(model, device="cpu", threads=1) as vae:
        return float(vae.score(np.load(data)["x"][:1]).score[0])


def pytorch_job(model: Path, data: Path) -> float:
    import numpy as np
    import torch
    from pytorch import read_model, score

    torch.set_num_threads(1)
    return float(score(read_model(model), np.load(data)["x"][:1])[0])


def peak_memory_bytes() -> int:
    """Of this process: VmHWM, since ru_maxrss may hold the parent's peak from before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(job: str, model: Path, data: Path) -> dict[str, float]:
    """Medians of fresh processes: seconds until the first score is out, peak bytes."""
    seconds, peaks = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        command = [sys.executable, __file__, str(model), "--data", str(data), "--job", job]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            line = process.stdout.readline()
            seconds.append(time.perf_counter() - start)
        if process.returncode != 0 or not line:
            raise SystemExit(f"the {job} job failed")
        peaks.append(json.loads(line)["peak_bytes"])
    return {"seconds": statistics.median(seconds), "peak_bytes": statistics.median(peaks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the bundle; with --job pytorch the run folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--job", choices=("bundle", "pytorch"))
    parser.add_argument("--run", type=Path, help="the run folder to compare with")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.job:
        job = {"bundle": bundle_job, "pytorch": pytorch_job}[options.job]
        score = job(options.model, options.data)
        print(json.dumps({"score": score, "peak_bytes": peak_memory_bytes()}), flush=True)
        return
    found: dict[str, Any] = {
        "bundle": measure("bundle", options.model, options.data),
        "pytorch": measure("pytorch", options.run, options.data),
    }
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for job, figures in found.items():
        print(f"{job}: {figures['seconds']:.2f} s, {figures['peak_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
