"""``make bench``: writes docs/benchmarks.md and benchmarks/speed/targets.md; figures go to build/benchmarks/speed.json.

Every model and number of threads has a process of its own, in which all contenders take turns; quality, cold
starts and the machine's floor follow, one after the other and nothing beside them.
"""

from __future__ import annotations

import argparse
import compileall
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beside import beside_other_work
from isolation import isolation
from nodes import node_times
from speed_models import SUBJECTS, Subject, bundle, trained
from speed_page import figure, page
from speed_targets import targets_page
from streaming import rates

import vae_edge_runtime
from vae_edge.bench.environment import ThisMachine, load_average
from vae_edge_runtime import Bundle, load
from vae_edge_runtime.device.machine import cpu_model
from vae_edge_runtime.storage.files import write_atomic

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
THREADS = (1, 2)
STARTS = 9
AT_ONCE = 100
"""Rows made at a time: colour images take 8 MB each on the way."""
STARTED = ("imports", "vae-edge fp32", "vae-edge int8-cpu", "split sessions", "OpenVINO", "PyTorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round each, no torch.compile: to see that it runs")
    parser.add_argument("--subjects", default=",".join(s.name for s in SUBJECTS), help="of the three, comma separated")
    parser.add_argument("--rewrite", action="store_true", help="write the pages from the figures of the last run")
    parser.add_argument(
        "--again", choices=["cold", "quality", "isolation"], help="measure that part alone, keep the others"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmarks")
    options = parser.parse_args()
    figures, written, targets = options.output / "speed.json", ROOT / "docs" / "benchmarks.md", HERE / "targets.md"
    if options.quick:
        figures, written, targets = (options.output / f"speed-quick{end}" for end in (".json", ".md", "-targets.md"))
    if not options.rewrite:
        options.output.mkdir(parents=True, exist_ok=True)
        chosen = [s for s in SUBJECTS if s.name in options.subjects.split(",")]
        if options.again:
            document = json.loads(figures.read_text("utf-8"))
            part = {"cold": cold_starts, "quality": qualities, "isolation": isolations}[options.again]
            document[options.again] |= part(chosen, options.output / "speed", quick=options.quick)
        else:
            document = measure(chosen, options.output / "speed", quick=options.quick)
        write_atomic(figures, [json.dumps(document, indent=1, allow_nan=False).encode(), b"\n"])
    document = json.loads(figures.read_text("utf-8"))
    picture = written.parent / ("images/speed.png" if not options.quick else "speed-quick.png")
    write_atomic(picture, [figure(document)])
    write_atomic(written, [page(document, picture.relative_to(written.parent).as_posix()).encode()])
    write_atomic(targets, [targets_page(document).encode()])
    say(f"{figures}\n{written}\n{targets}\n{picture}")


def measure(subjects: list[Subject], folder: Path, *, quick: bool) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    before = load_average()
    facts = [prepare(subject, folder) for subject in subjects]
    cells: list[Any] = []
    errors: dict[str, Any] = {}
    for subject in subjects:
        for threads in THREADS:
            found = timed(subject, folder, threads, quick=quick)
            cells += found["cells"]
            errors[subject.name] = found["errors"]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(ThisMachine().text("/proc/cpuinfo") or "") or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "load_before": before,
        "floor": {str(threads): floor(threads) for threads in THREADS},
        "subjects": facts,
        "cells": cells,
        "errors": errors,
        "quality": qualities(subjects, folder, quick=quick),
        "overhead_us": {subject.name: overhead(subject, folder) for subject in subjects},
        "nodes": {subject.name: node_times(subject, folder) for subject in subjects},
        "beside": {s.name: beside_other_work(s, folder, quick=quick) for s in subjects if s.name != "colour"},
        "stream": {s.name: rates(s, folder, quick=quick) for s in subjects if s.name == "grey"},
        "cold": cold_starts(subjects, folder, quick=quick),
        "isolation": isolations(subjects, folder, quick=quick),
    }


def isolations(subjects: list[Subject], folder: Path, *, quick: bool) -> dict[str, Any]:
    """``isolation`` of each model."""
    return {s.name: isolation(s, folder, starts=1 if quick else STARTS, quick=quick) for s in subjects}


def cold_starts(subjects: list[Subject], folder: Path, *, quick: bool) -> dict[str, Any]:
    """``cold`` of each model."""
    return {subject.name: cold(subject, folder, 1 if quick else STARTS) for subject in subjects}


def prepare(subject: Subject, folder: Path) -> dict[str, Any]:
    """Train and export what is not there yet; what is known before anything is timed."""
    import torch
    from speed_models import to_model
    from torch.utils.flop_counter import FlopCounterMode

    path, model = bundle(subject, folder, say), trained(subject, folder)
    row = subject.rows(True, 1, np.random.default_rng(0))
    np.save(folder / f"{subject.name}-row.npy", row)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.decode(model.encode(to_model(subject, row))[0])
    with Bundle.open(path) as opened:
        (folder / f"{subject.name}-score.onnx").write_bytes(opened.graph("fp32", "score"))
        variant_bytes = {name: opened.manifest.variant_bytes(name) for name in sorted(opened.manifest.variants)}
        size = opened.size_bytes
    return {
        "name": subject.name, "title": subject.title, "batch": subject.batch, "mflop": counter.get_total_flops() / 1e6,
        "weight_bytes": 4 * sum(p.numel() for p in model.parameters()), "variant_bytes": variant_bytes,
        "bundle_bytes": size,
    }  # fmt: skip


def timed(subject: Subject, folder: Path, threads: int, *, quick: bool) -> dict[str, Any]:
    """``cells.py`` in a process of its own."""
    extra = ["--rounds", "1", "--no-compile"] if quick else []
    command = [sys.executable, str(HERE / "cells.py"), subject.name, str(folder), "--threads", str(threads), *extra]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}  # as users have it
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=plain)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def qualities(subjects: list[Subject], folder: Path, *, quick: bool) -> dict[str, Any]:
    """``quality`` of each model."""
    return {subject.name: quality(subject, folder, quick=quick) for subject in subjects}


def quality(subject: Subject, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Of each way that is not exact: Spearman's correlation with fp32's scores, AUROC, decisions that are equal."""
    from contenders import has_bf16

    from vae_edge_export.agreement import auroc, score_agreement

    n = 50 if quick else subject.normal
    rng = np.random.default_rng(4)
    parts = [(normal, min(AT_ONCE, n - at)) for normal in (True, False) for at in range(0, n, AT_ONCE)]
    rows = np.concatenate([subject.rows(normal, count, rng) for normal, count in parts])
    is_anomaly = np.repeat([False, True], n)
    ways = {"fp32": ("fp32", "cpu")}
    if "int8-cpu" in subject.variants:
        ways["int8"] = "int8-cpu", "cpu"
    if has_bf16():
        ways["bf16"] = "fp32", "openvino-bf16"
    scores = {}
    for way, (variant, device) in ways.items():
        say(f"{subject.name}: scores of {len(rows)} rows, {way}")
        with load(folder / f"{subject.name}.vaeb", device=device, variant=variant) as vae:
            scores[way] = vae.score(rows)
    exact = scores.pop("fp32")
    found: dict[str, Any] = {"rows": len(rows), "auroc": auroc(exact.score, is_anomaly), "ways": {}}
    for way, other in scores.items():
        agreement = score_agreement(exact.score, other.score, exact.threshold, other.threshold)
        found["ways"][way] = {
            "spearman": agreement.rank_correlation, "equal_decisions": agreement.agreement,
            "auroc": auroc(other.score, is_anomaly),
        }  # fmt: skip
    return found


def cold(subject: Subject, folder: Path, starts: int) -> dict[str, Any]:
    """Seconds from starting a process to its first score, one per turn, and its largest peak memory."""
    say(f"{subject.name}: cold starts")
    compileall.compile_dir(str(Path(vae_edge_runtime.__file__).parent), quiet=1)  # as an installed package has it
    absent = {f"vae-edge {variant}" for variant in ("int8-cpu",) if variant not in subject.variants}
    found: dict[str, list[tuple[float, float]]] = {who: [] for who in STARTED if who not in absent}
    for i in range(starts + 1):
        for who, times in found.items():
            begin = time.perf_counter()
            with subprocess.Popen(
                [sys.executable, str(HERE / "cold.py"), who, subject.name, str(folder)],
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                line = process.stdout.readline() if process.stdout else ""
                elapsed = time.perf_counter() - begin
            if process.returncode:
                raise RuntimeError(f"{who} failed to start on {subject.name}")
            if i:  # the first fills the page cache
                times.append((elapsed, json.loads(line)["peak_mb"]))
    return {
        who: {"turns": [seconds for seconds, _ in times], "peak_mb": max(mb for _, mb in times)}
        for who, times in found.items()
    }


def overhead(subject: Subject, folder: Path) -> dict[str, float]:
    """Microseconds of our Python in a call of one row: the same public call, while the engine answers from memory."""
    row = subject.rows(True, 1, np.random.default_rng(5))
    with load(folder / f"{subject.name}.vaeb", device="cpu", variant="fp32", threads=1) as vae:
        real, answers = vae._backend.run, {}

        def run(graph: str, feeds: Any, outputs: Any) -> Any:
            if graph not in answers:
                answers[graph] = real(graph, feeds, outputs)
            return list(answers[graph])

        vae._backend.run = run  # type: ignore[method-assign]
        calls = {"score": lambda: vae.score(row), "sample": lambda: vae.sample(1, seed=3)}
        return {task: float(np.median([_mean_us(call) for _ in range(15)])) for task, call in calls.items()}


def _mean_us(call: Callable[[], object], times: int = 500) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times * 1e6


def floor(threads: int) -> dict[str, float]:
    """What the machine can do: float32 matrix products and copies, best of several, in a process of its own."""
    script = (
        "import time, json, torch; torch.set_num_threads(int(__import__('os').environ['OMP_NUM_THREADS']))\n"
        "a = torch.randn(1024, 1024); big = torch.randn(1 << 25); to = torch.empty_like(big)\n"
        "def best(f):\n"
        "    f(); times = []\n"
        "    for _ in range(15):\n"
        "        t = time.perf_counter(); f(); times.append(time.perf_counter() - t)\n"
        "    return min(times)\n"
        "print(json.dumps({'gflops': 2 * 1024**3 / best(lambda: a @ a) / 1e9,"
        " 'copy_gb_s': 2 * big.nbytes / best(lambda: to.copy_(big)) / 1e9}))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
