"""What runs on a device: numpy, one inference engine and the bundle. No torch, no onnx, no command line.

Scores the held-out digits, draws new ones, rebuilds some, and measures how long a call takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime import load

NOT_ON_A_DEVICE = ("torch", "onnx", "onnxscript", "typer", "rich", "click", "vae_edge", "vae_edge_export")
WARM_UP, CALLS = 20, 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    held_out = np.load(options.data)
    x = held_out["x"]

    with load(options.bundle, device="cpu", threads=1) as vae:
        scores = vae.score(x, maps=True)
        new = vae.sample(60, seed=7, temperature=0.8)
        rebuilt = vae.reconstruct(x)
        between = vae.interpolate(*_two_normal(x, held_out, scores.score), steps=9)
        latency = {str(n): milliseconds(lambda n=n: vae.score(x[:n])) for n in (1, 32)}
        info = vae.info.to_dict()

    loaded = sorted(set(NOT_ON_A_DEVICE) & set(sys.modules))
    if loaded:
        raise SystemExit(f"a device must not need {', '.join(loaded)}")

    np.savez(
        options.output.with_suffix(".npz"),
        score=scores.score,
        is_anomaly=scores.is_anomaly,
        p_value=scores.p_value,
        map=scores.map,
        samples=new,
        reconstructions=rebuilt,
        interpolation=between,
    )
    figures = {"threshold": scores.threshold, "latency_ms": latency, "info": info, "modules": len(sys.modules)}
    options.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{len(scores)} rows scored, {scores.is_anomaly.sum()} called anomalous; not loaded: torch, onnx, typer")


def milliseconds(call: Callable[[], Any]) -> dict[str, float]:
    """Median and 95th percentile of many calls."""
    taken = []
    for _ in range(WARM_UP + CALLS):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(taken[WARM_UP:], [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _two_normal(x: np.ndarray, held_out: Any, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most ordinary 4 and the most ordinary 7."""
    a, b = (min(np.flatnonzero(held_out["digit"] == digit), key=lambda i: score[i]) for digit in (4, 7))
    return x[a], x[b]


if __name__ == "__main__":
    main()
