"""Writes docs/inspection-benchmark.md, made by running it; each cell goes to build/benchmarks/inspection at once."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from inspection_cells import RATE, split
from inspection_page import page
from materials import Material, materials
from methods import METHODS, TRAINED, measure

from vae_edge_runtime.errors import MissingDependency
from vae_edge_runtime.storage.files import write_atomic

ROOT = Path(__file__).parents[2]
CELLS = ROOT / "build" / "benchmarks" / "inspection"
PAGE = ROOT / "docs" / "inspection-benchmark.md"
PACKAGES = ("torch", "onnxruntime", "numpy", "scikit-image", "scikit-learn", "pyod")
ORDER = ("cup, aligned", "brick, not aligned", "gravel, aligned", "cup, not aligned", "brick, aligned",
         "gravel, not aligned")  # fmt: skip
"""So that a run that is cut short has every method on some of each kind."""
QUICK = {"training": 32, "calibration": 130, "good": 20, "bad": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1 and so on")
    parser.add_argument("--methods", default="", help=f"comma separated, of: {', '.join(METHODS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one epoch, few pictures, one seed: to see that it runs")
    parser.add_argument("--afresh", action="store_true", help="measure cells again that are there already")
    parser.add_argument("--rewrite", action="store_true", help="write the page from the cells that are there")
    options = parser.parse_args()
    cells, written = (CELLS / "quick", CELLS / "quick.md") if options.quick else (CELLS, PAGE)
    methods = tuple(options.methods.split(",")) if options.methods else METHODS
    if wrong := [name for name in methods if name not in METHODS]:
        parser.error(f"{wrong[0]!r} is no method; valid are {', '.join(METHODS)}")
    if not options.rewrite:
        collect(cells, methods, 1 if options.quick else options.seeds, quick=options.quick, afresh=options.afresh)
    written.write_text(page(document(cells)), encoding="utf-8")
    _say(str(written))


def collect(cells: Path, methods: tuple[str, ...], seeds: int, *, quick: bool, afresh: bool) -> None:
    """Every cell of material, method and seed that ``cells`` does not hold; a run can be stopped at any moment."""
    cells.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for material in sorted(materials(), key=lambda m: ORDER.index(m.setting)):
            for method in methods:
                file = cells / f"{material.setting}, {method}, seed {seed}.json"
                if afresh or not file.exists():
                    _cell(file, material, method, seed, quick=quick)


def _cell(file: Path, material: Material, method: str, seed: int, *, quick: bool) -> None:
    start = time.process_time(), time.perf_counter()
    pictures = split(material, seed, **(QUICK if quick else {}))
    try:
        figures = measure(method, pictures, seed, epochs=1 if quick else None)
    except MissingDependency as error:
        _say(f"LEFT OUT: {method}: {error}")
        return
    cell = {
        "setting": material.setting, "material": material.name, "aligned": material.aligned,
        "source": material.source, "method": method, "seed": seed, "quick": quick,
        "counts": {"training": len(pictures.training), "calibration": len(pictures.calibration),
                   "good": int((pictures.kinds == "good").sum()), "bad": int((pictures.kinds != "good").sum())},
        "date": f"{datetime.date.today():%Y-%m-%d}", "versions": _versions(),
        "seconds": round(time.perf_counter() - start[1], 1),
        "figures": {head: dataclasses.asdict(of_head) for head, of_head in figures.items()},
    }  # fmt: skip
    write_atomic(file, [json.dumps(_plain(cell), allow_nan=False, indent=1).encode() + b"\n"])
    best = max(figures.items(), key=lambda item: item[1].auroc)
    _say(f"{cell['seconds']:7.1f} s  {file.stem}: AUROC {best[1].auroc:.3f} by {best[0] or 'its score'}")


def document(cells: Path) -> dict[str, Any]:
    """What the page is written from."""
    return {
        "cells": [json.loads(file.read_text("utf-8")) for file in sorted(cells.glob("*.json"))],
        "trained": {name: dataclasses.asdict(arm) for name, arm in TRAINED.items()},
        "methods": list(METHODS),
        "rate": RATE,
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _plain(value: Any) -> Any:
    """NaN, which JSON lacks, becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
