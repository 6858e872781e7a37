"""Frames per second that a live stream decides about while the 99th percentile of their latency stays below a limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from speed_models import Subject

from vae_edge_runtime import VAE, load

LIMIT_S = 0.05
STEP = 1.15
"""From one rate that is tried to the next."""


def rates(subject: Subject, folder: Path, *, quick: bool) -> dict[str, float]:
    """Highest rate kept, frames per second, with every frame decided for itself and with those that wait together;
    0 where the lowest that is tried is not.
    """
    frames = subject.rows(True, 64, np.random.default_rng(6))
    found = dict.fromkeys(("each for itself", "waiting ones together"), 0.0)
    for name, together_s in zip(found, (0.0, 0.05), strict=True):
        with load(folder / f"{subject.name}.vaeb", device="cpu", variant="fp32", threads=1) as vae:
            vae.score(frames[:32])
            rate = 50.0
            while latency_s(vae, frames, rate, together_s, seconds=0.3 if quick else 2.0) <= LIMIT_S:
                found[name] = rate
                rate *= STEP if not quick else 4
    return found


def latency_s(vae: VAE, frames: Any, rate: float, together_s: float, *, seconds: float) -> float:
    """99th percentile of the time from a frame's appearance to its decision; infinite where frames were dropped."""
    count = max(20, int(rate * seconds))
    appeared = np.arange(count) / rate
    decided = np.full(count, np.inf)
    begin = time.perf_counter()

    def camera() -> Iterator[Any]:
        for i in range(count):
            time.sleep(max(0.0, begin + appeared[i] - time.perf_counter()))
            yield frames[i % len(frames)]  # where it is held up, the frame was due all the same

    with vae.stream(camera(), live=True, together_s=together_s, drift=False) as stream:
        for event in stream:
            decided[event.index] = time.perf_counter() - begin
    return float(np.quantile(decided - appeared, 0.99))
