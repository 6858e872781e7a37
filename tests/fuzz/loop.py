"""Fuzz for some time: ``python tests/fuzz/loop.py [--seconds 60] [--seed 0] [TARGET ...]``.

Whatever raises another error than the deliberate ones, takes longer than ``SLOW_S``, or ends the process of an
engine is written to ``tests/fuzz/corpus/TARGET/`` and named; from then on ``test_fuzz.py`` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
import warnings
from pathlib import Path

from all_targets import TARGETS
from engine import ENGINES, end_of, graphs
from targets import accepted

from vae_edge_runtime.dependencies import require

HERE = Path(__file__).parent
SLOW_S = 2.0
_GRAPHS_PER_PROCESS = 10


def keep(target: str, raw: bytes, why: str) -> None:
    """Write a finding into the corpus."""
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(raw).hexdigest()[:16]}.bin"
    path.write_bytes(raw)
    print(f"  FOUND {path.relative_to(HERE)}: {why}", flush=True)


def corpus(target: str) -> list[bytes]:
    """What was found before."""
    return [path.read_bytes() for path in sorted((HERE / "corpus" / target).glob("*.bin"))]


def fuzz(name: str, seconds: float, seed: int) -> tuple[int, int, int]:
    """Executions, those accepted, and findings."""
    target, rng = TARGETS[name], random.Random(seed)
    if target.needs is not None:
        require(target.needs, extra=None, why="fuzzing")
    seeds = [*target.seeds(), *corpus(name)]
    runs = taken = findings = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        raw = target.mutate(seeds, rng)
        start = time.process_time()
        try:
            taken += accepted(target, raw)
        except Exception as error:
            findings += 1
            keep(name, raw, f"{type(error).__name__}: {error}"[:200])
            traceback.print_exc(limit=-3)
        if (took := time.process_time() - start) > SLOW_S:
            findings += 1
            keep(name, raw, f"took {took:.1f} s")
        runs += 1
    return runs, taken, findings


def fuzz_engine(engine: str, seconds: float, seed: int) -> tuple[int, int, int]:
    """As ``fuzz``, of graphs that a process of its own runs; accepted are those that pass the scanner."""
    require(engine, extra=None, why="fuzzing")  # once, and not in every process
    made, taken, findings = 0, 0, 0
    waiting: list[bytes] = []
    stream, stop = graphs(random.Random(seed)), time.monotonic() + seconds
    while time.monotonic() < stop:
        raw = next(stream)
        made += 1
        if raw is None:
            continue
        taken += 1
        waiting.append(raw)
        if len(waiting) < _GRAPHS_PER_PROCESS:
            continue
        if end := end_of(engine, waiting):
            guilty = {raw: alone for raw in waiting if (alone := end_of(engine, [raw]))}
            findings += len(guilty)
            for one, alone in guilty.items():
                keep(engine, one, alone)
            if not guilty:  # what many graphs in one process do to an engine is no graph's fault
                print(f"  {engine}: {end} of {_GRAPHS_PER_PROCESS} graphs together, and of none alone", flush=True)
        waiting = []
    return made, taken, findings


def main() -> int:
    """Fuzz the targets, print a line for each, and return 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=[*TARGETS, *ENGINES], help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="of each target; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs")
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)
    warnings.simplefilter(
        "error", UserWarning
    )  # a file of a stranger is taken or refused, and prints nothing of its own
    found = 0
    for name in options.targets:
        run = fuzz_engine if name in ENGINES else fuzz
        runs, taken, findings = run(name, options.seconds, options.seed)
        print(f"{name:<12} {runs:>9,} executions, {taken:,} accepted, {findings} findings", flush=True)
        found += findings
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
