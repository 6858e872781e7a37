"""Writes docs/anomaly-benchmark.md, made by running it; all figures also go to build/benchmarks/anomaly.json."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmark_page import page
from measurement import Outcome, measure
from model_settings import RATE, SETTINGS
from public_data import Folders, cases

from vae_edge_runtime.storage.files import write_atomic

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "build" / "benchmarks" / "anomaly.json"
PAGE = ROOT / "docs" / "anomaly-benchmark.md"
PACKAGES = ("torch", "onnxruntime", "numpy", "scikit-learn", "pyod", "mlxtend")
SEEDS = (0, 1, 2)
Job = tuple[str, int, int]
"""First data set of a case, part, seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, what in (("adbench", "ADBench's Classical .npz files"), ("nab", "NAB's series and anomaly_windows.json"),
                       ("fashion", "the four files of Fashion-MNIST")):  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"{what}; without it they are left out")
    parser.add_argument("--quick", action="store_true", help="two epochs, one seed, one class: to see that it runs")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--rewrite", action="store_true", help="write the page from the figures of the last run")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    options = parser.parse_args()
    figures, written = (FIGURES, PAGE)
    if options.quick:
        figures, written = FIGURES.with_stem("anomaly-quick"), FIGURES.with_name("anomaly-quick.md")
    if not options.rewrite:
        done = figures.with_suffix("")
        if not options.resume:
            shutil.rmtree(done, ignore_errors=True)
        done.mkdir(parents=True, exist_ok=True)
        folders = Folders(options.adbench, options.nab, options.fashion)
        document = collect(folders, done, quick=options.quick, workers=options.workers)
        figures.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    written.write_text(page(json.loads(figures.read_text("utf-8"))), encoding="utf-8")
    _say(f"{figures}\n{written}")


def collect(folders: Folders, done: Path, *, quick: bool, workers: int) -> dict[str, Any]:
    """Run what ``done`` does not hold yet; the document that the page is written from."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    left_out = [f"the data of {name}: no folder was given" for name, path in vars(folders).items() if path is None]
    if not (with_pyod := "pyod" in versions):
        left_out.append("PyOD's VAE: the package pyod is not installed")
    for what in left_out:
        _say(f"LEFT OUT: {what}")
    found = cases(folders)
    jobs = [(c.names[0], part, seed) for c in found for seed in SEEDS for part in c.parts]
    if quick:
        jobs = [job for job in jobs if job[1:] == (0, 0)]
    _run([job for job in jobs if not _file(done, job).exists()], folders, done, quick, with_pyod, workers)
    outcomes = [json.loads(_file(done, job).read_text("utf-8")) for job in jobs]
    return {
        "made": {
            "date": f"{datetime.date.today():%Y-%m-%d}",
            "machine": f"{platform.machine().replace('_', '-')} {platform.system()}",
            "workers": workers,
            "python": platform.python_version(),
            "versions": versions,
            "cpu_seconds": round(sum(outcome["cpu_seconds"] for outcome in outcomes)),
            "quick": quick,
            "seeds": len({seed for _, _, seed in jobs}),
            "rate": RATE,
        },
        "left_out": left_out,
        "settings": {family: [dataclasses.asdict(s) for s in settings] for family, settings in SETTINGS.items()},
        "data_sets": {name: case.family for case in found for name in case.names},
        "figures": [figures for outcome in outcomes for figures in outcome["figures"]],
        "problems": [problem for outcome in outcomes for problem in outcome["problems"]],
    }


def _run(jobs: list[Job], folders: Folders, done: Path, quick: bool, with_pyod: bool, workers: int) -> None:
    """Every outcome to a file of its own as soon as it is there, so that a run can be stopped and resumed."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries that a worker imports
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        longest_first = reversed(jobs)
        futures = {pool.submit(_job, job, folders, quick, with_pyod): job for job in longest_first}
        for count, future in enumerate(as_completed(futures), start=1):
            job, outcome = futures[future], future.result()
            plain = json.dumps(_plain(dataclasses.asdict(outcome)), allow_nan=False)
            write_atomic(_file(done, job), [plain.encode() + b"\n"])
            name, part, seed = job
            _say(f"{count}/{len(jobs)}  {name}, part {part}, seed {seed}: {outcome.cpu_seconds:.0f} s")
            for problem in outcome.problems:
                _say(f"  {problem}")


def _file(done: Path, job: Job) -> Path:
    name, part, seed = job
    return done / f"{name}, part {part}, seed {seed}.json"


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _job(job: Job, folders: Folders, quick: bool, with_pyod: bool) -> Outcome:
    name, part, seed = job
    case = next(c for c in cases(folders) if c.names[0] == name)
    settings = tuple(s.shortened() if quick else s for s in SETTINGS[case.family])
    return measure(case, part, seed, settings, with_pyod=with_pyod and case.family == "tables")


def _plain(value: Any) -> Any:
    """NaN, which JSON lacks, becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
