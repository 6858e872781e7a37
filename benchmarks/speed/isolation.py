"""What a process of its own costs: ``load(isolate=True)`` beside the plain session, start and per call, turns taken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from speed_models import Subject

from vae_edge.bench.measure import Pace, interleaved, latency
from vae_edge_runtime import load

WAYS = {"plain": False, "isolated": True}


def isolation(subject: Subject, folder: Path, *, starts: int, quick: bool) -> dict[str, Any]:
    """Of each way, fp32 on one thread: seconds from ``load`` to the first score, and ms of a score per batch.

    The first start of each way fills the page cache and is left out.
    """
    rows = subject.rows(True, subject.batch, np.random.default_rng(8))
    path = folder / f"{subject.name}.vaeb"

    def started(isolate: bool) -> float:
        begin = time.perf_counter()
        with load(path, device="cpu", variant="fp32", threads=1, isolate=isolate) as vae:
            vae.score(rows[:1])
            return time.perf_counter() - begin

    turns = [[started(isolate) for isolate in WAYS.values()] for _ in range(starts + 1)][1:]
    start_s = {way: float(np.median(seconds)) for way, seconds in zip(WAYS, zip(*turns, strict=True), strict=True)}
    sessions = [load(path, device="cpu", variant="fp32", threads=1, isolate=isolate) for isolate in WAYS.values()]
    try:
        score: dict[str, Any] = {}
        for batch in (1, subject.batch):
            calls = [lambda vae=vae, x=rows[:batch]: vae.score(x) for vae in sessions]
            pace = Pace(rounds=3 if quick else subject.rounds, calls_per_turn=subject.calls)
            times = interleaved(calls, pace, clock=time.perf_counter, sleep=time.sleep)
            score[str(batch)] = {
                way: {"p50_ms": figures.p50_ms, "p95_ms": figures.p95_ms}
                for way, figures in zip(WAYS, map(latency, times), strict=True)
            }
    finally:
        for vae in sessions:
            vae.close()
    return {"start_s": start_s, "score": score}
