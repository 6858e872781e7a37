"""What other work on the machine does to a session: threads that spin while they wait, and threads that do not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from speed_models import Subject

from vae_edge.bench.measure import Pace, interleaved, latency
from vae_edge_runtime import load

_WAYS: dict[str, dict[str, Any]] = {
    "1 thread": {"threads": 1},
    "2 threads": {"threads": 2},
    "2 threads, not spinning": {"threads": 2, "spin": False},
}


def beside_other_work(subject: Subject, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Scores in fp32 on ONNX Runtime while one process keeps a core busy: p50 and p95 in ms, per batch and way."""
    rows = subject.rows(True, subject.batch, np.random.default_rng(7))
    sessions = [load(folder / f"{subject.name}.vaeb", device="cpu", variant="fp32", **way) for way in _WAYS.values()]
    found: dict[str, Any] = {}
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            for batch in (1, subject.batch):
                calls = [lambda vae=vae, x=rows[:batch]: vae.score(x) for vae in sessions]
                pace = Pace(rounds=3 if quick else subject.rounds, calls_per_turn=subject.calls)
                times = interleaved(calls, pace, clock=time.perf_counter, sleep=time.sleep)
                found[str(batch)] = {
                    way: {"p50_ms": figures.p50_ms, "p95_ms": figures.p95_ms}
                    for way, figures in zip(_WAYS, map(latency, times), strict=True)
                }
        finally:
            busy.kill()
    for vae in sessions:
        vae.close()
    return found
