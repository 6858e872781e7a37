"""One model at one number of threads, in a process of its own: every contender in interleaved rounds, to JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, help="instead of the model's own number")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before numpy and torch are imported
    json.dump(measure(options), sys.stdout, allow_nan=False)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Medians, tails, ratios of rounds, and how far each score is from float64 PyTorch."""
    import contenders
    import numpy as np
    import speed_models

    from vae_edge.bench.measure import Pace, interleaved, latency, ratio

    subject = next(s for s in speed_models.SUBJECTS if s.name == options.subject)
    model = speed_models.trained(subject, options.folder)
    path = speed_models.bundle(subject, options.folder, say)
    graphs = contenders.split_graphs(subject, model, options.folder)
    threads = options.threads
    field = [
        contenders.pytorch(subject, model, threads, compiled=False),
        *([] if options.no_compile else [contenders.pytorch(subject, model, threads, compiled=True)]),
        contenders.split_sessions(subject, graphs, threads, spinning=True),
        contenders.split_sessions(subject, graphs, threads, spinning=False),
        contenders.openvino(subject, contenders.whole_graphs(subject, model, options.folder), threads),
        *(
            contenders.ours(path, variant, device, threads)
            for variant, device in itertools.product(subject.variants, ("cpu", "openvino"))
        ),
        *(contenders.ours(path, variant, "cpu", threads, spin=False) for variant in subject.variants if threads > 1),
        *([contenders.ours(path, "fp32", "openvino-bf16", threads)] if contenders.has_bf16() else []),
    ]
    rows = subject.rows(True, 64, np.random.default_rng(2))
    cells: list[dict[str, Any]] = []
    for task, batch in itertools.product(("score", "sample"), (1, subject.batch)):
        say(f"{subject.name}: {task}, batch {batch}, {threads} threads")
        calls = [call_of(c, task, batch, rows) for c in field]
        pace = Pace(rounds=options.rounds or subject.rounds, calls_per_turn=subject.calls)
        times = interleaved(calls, pace, clock=time.perf_counter, sleep=time.sleep)
        found = dict(zip((c.name for c in field), times, strict=True))
        everyone = [(name, seconds, found) for name, seconds in found.items()]
        if len(times[0]) > 1:
            everyone += [_on_chosen_engine(variant, found, batch) for variant in subject.variants]
        for who, seconds, others in everyone:
            figures = latency(seconds)
            versus = {other: ratio(reference, seconds).median for other, reference in others.items()}
            cells.append(
                {
                    "subject": subject.name, "task": task, "batch": batch, "threads": threads, "who": who,
                    "p50_ms": figures.p50_ms, "p95_ms": figures.p95_ms, "p99_ms": figures.p99_ms,
                    "calls": figures.calls,
                    "times_as_fast_as": versus,
                }
            )  # fmt: skip
    return {"cells": cells, "errors": errors(subject, model, field)}


def _on_chosen_engine(variant: str, found: dict[str, Any], batch: int) -> tuple[str, Any, dict[str, Any]]:
    """A variant on the engine that ``tune`` takes by half of the rounds; its times, and everybody's, of the others."""
    from vae_edge.tune.choice import Limits, Timed, choose, halves

    ours = f"vae-edge {variant}"
    candidates = [name for name in found if name in (ours, f"{ours}, openvino", f"{ours}, not spinning")]
    winner = choose([Timed(found[name], batch, None) for name in candidates], Limits())
    rest = {name: halves(Timed(seconds, batch, None))[1] for name, seconds in found.items()}
    return f"{ours}, chosen engine", rest[candidates[winner or 0]], rest


def call_of(contender: Any, task: str, batch: int, rows: Any) -> Callable[[], object]:
    """The next batch of rows, or the next seed, each time; called twice before it is timed."""
    parts = itertools.cycle([rows[at : at + batch] for at in range(0, len(rows) - batch + 1, batch)])
    seeds = itertools.count()
    call = (lambda: contender.score(next(parts))) if task == "score" else (lambda: contender.sample(batch, next(seeds)))
    for _ in range(2):
        call()
    return call


def errors(subject: Any, model: Any, field: list[Any]) -> dict[str, float]:
    """Largest relative difference of a contender's scores from PyTorch's in float64, on 16 rows."""
    import copy

    import contenders
    import numpy as np
    import speed_models
    import torch

    rows = subject.rows(True, 16, np.random.default_rng(3))
    with torch.inference_mode():
        double = copy.deepcopy(model).double()
        exact = contenders.pytorch_score(subject, double, speed_models.to_model(subject, rows).double()).numpy()
    return {c.name: float(np.max(np.abs(c.score(rows) - exact) / np.abs(exact))) for c in field}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
