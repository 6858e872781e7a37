"""Runs under emulation, with numpy and onnxruntime alone: what this machine makes of the bundle, against x86."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from vae_edge_runtime import load, verify
from vae_edge_runtime.sampling.noise import standard_normal
from vae_edge_runtime.verification import max_errors

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 5e-2, "int8-cpu": 1e-1}
"""Relative; of scores. fp32 is the promise; an 8-bit value at the edge of a step may fall on either side of it."""


def main() -> None:
    folder = Path(sys.argv[1])
    path, expected = folder / "digits.vaeb", np.load(folder / "expected.npz")
    x, problems, differences = expected["x"], [], {}
    flipped = 0
    for variant, tolerance in TOLERANCE.items():
        with load(path, device="cpu", variant=variant, threads=1) as vae:
            scores = vae.score(x, heads="all", maps=True)
            found = {head: result.score for head, result in scores.heads.items()}
            found |= {"map": scores.map, "mean": vae.encode(x).mean, "sample": vae.sample(8, seed=7)}
            for name, array in found.items():
                error = max_errors(array, expected[f"{variant} {name}"])[1]
                differences[f"{variant} {name}"] = error
                held = name == "elbo" or variant == "fp32"
                if held and not error <= tolerance:
                    problems.append(f"{variant} {name} differs by {error:.1e}, at most {tolerance:g}")
            if variant == "fp32":
                flipped = int((scores.is_anomaly != expected["fp32 is_anomaly"]).sum())
    if flipped:
        problems.append(f"{flipped} decisions of fp32 differ")
    noise_equal = standard_normal(1000, seed=7).tobytes() == expected["noise"].tobytes()
    if not noise_equal:
        problems.append("the sampler's noise differs")
    checked = verify(path)
    problems += [
        f"golden {c.variant} {c.graph}.{c.output} differs by {c.max_relative:.1e}, at most {c.tolerance_relative:g}"
        for c in checked.checks
        if not c.passed
    ]
    if platform.machine() != "aarch64":
        problems.append(f"this is no aarch64 but {platform.machine()}")
    shown = {name: error for name, error in differences.items() if name.endswith("elbo") or name.startswith("fp32")}
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "versions": [platform.python_version(), np.__version__, onnxruntime.__version__],
                "differences": shown,
                "decisions_differ": flipped,
                "noise_equal": noise_equal,
                "problems": problems,
            }
        )
    )


if __name__ == "__main__":
    main()
