"""The page of our own targets: what was asked, what came out, and where the time goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from speed_page import (
    BF16,
    CHOSEN,
    INT8,
    OPENVINO,
    OURS,
    PEERS,
    QUIET,
    SPLIT,
    TORCH,
    Cells,
    count_of_threads,
    geometric,
    int8_share,
    measured,
    ratios,
    table,
)


def targets_page(document: dict[str, Any]) -> str:
    """The page for who works on speed: our own targets, and where the time goes."""
    parts = [
        "# Targets of speed",
        "This page compares the figures of [Speed](../../docs/benchmarks.md) with the project's own targets. "
        "[The ledger](ledger.md) says what was tried, and why targets are missed.",
        measured(document),
        "## What was asked, what came out",
        _targets(document),
        "`the engine chosen`: engine and spinning by half of a cell's rounds and the rule of `vae-edge tune`, "
        "timed in the others.",
        "## Our Python around the engine",
        "Microseconds of a public call of one row, input and output checks included, while the engine answers from "
        "memory; caches warm.",
        table(
            ("", "score", "sample"),
            [(name, *(f"{us:.1f}" for us in found.values())) for name, found in document["overhead_us"].items()],
        ),
        "## Where the engine's time goes",
        _nodes(document["nodes"]),
        "## The machine's floor",
        _floor(document),
    ]
    return "\n\n".join(parts) + "\n"


def _best_peer(cells: Cells, who: str) -> list[float]:
    """Over the fastest peer of each cell."""
    return [min(v for k, v in cell["times_as_fast_as"].items() if k in PEERS) for cell in cells if cell["who"] == who]


def _targets(document: dict[str, Any]) -> str:
    """Two tables: ratios of speed, and everything else that was asked for."""
    cells, cold = document["cells"], document["cold"]
    start = min(_paired(found[TORCH], found[OURS]) for found in cold.values())
    rows = [
        ("fp32, PyTorch eager", 2.5, geometric(ratios(cells, OURS, TORCH))),
        ("fp32, separate sessions", 1.4, geometric(ratios(cells, OURS, SPLIT))),
        ("fp32, separate sessions that do not spin", 1.1, geometric(ratios(cells, OURS, QUIET))),
        ("fp32, OpenVINO called directly", 1.15, geometric(ratios(cells, OURS, OPENVINO))),
        ("fp32, the fastest peer of a cell, worst cell", 0.9, min(_best_peer(cells, OURS))),
        ("int8, PyTorch eager", 5.0, geometric(ratios(cells, INT8, TORCH))),
        ("int8, our own fp32", 2.0, geometric(ratios(cells, INT8, OURS))),
        *_on_chosen_engines(cells),
        ("cold start, PyTorch, least of the models", 6.0, start),
    ]
    if bf16 := ratios(cells, BF16, OURS):
        rows.insert(-1, ("bf16, our own fp32", 1.0, geometric(bf16)))
    speed = [(what, f">= {limit:g}", f"{found:.3f}", _met(found >= limit)) for what, limit, found in rows]
    worst = max(_paired(found[OURS], found["imports"]) for found in cold.values())
    more = [("cold start over imports and one inference, most", "<= 1.2", f"{worst:.2f}", _met(worst <= 1.2))]
    python = document["overhead_us"].get("windows")
    if python:
        us = python["score"]
        more.append(("our Python in a score of one row, windows, warm", "<= 15 us", f"{us:.1f} us", _met(us <= 15)))
    for name, found in cold.items():
        if name != "colour":
            peak = found[OURS]["peak_mb"]
            more.append((f"peak memory, {name}", "<= 95 MB", f"{peak:.0f} MB", _met(peak <= 95)))
    for name, found in document["quality"].items():
        for way, asked in (("int8", 0.995), ("bf16", 0.999)):
            if way not in found["ways"]:
                continue
            rank, drop = found["ways"][way]["spearman"], found["auroc"] - found["ways"][way]["auroc"]
            more.append((f"{way} Spearman, {name}", f">= {asked}", f"{rank:.4f}", _met(rank >= asked)))
            more.append((f"{way} AUROC drop, {name}", "<= 0.005", f"{drop:+.4f}", _met(drop <= 0.005)))
        if "int8" in found["ways"]:
            share = int8_share(document, name)
            more.append((f"int8 bytes over fp32's, {name}", "<= 0.30", f"{share:.2f}", _met(share <= 0.30)))
    for name, found in document["errors"].items():
        more.append((f"fp32 score error, {name}", "<= 1e-5", f"{found[OURS]:.1e}", _met(found[OURS] <= 1e-5)))
    return (
        table(("times as fast as, geometric mean over all cells", "asked", "found", ""), speed)
        + "\n\n"
        + table(("else", "asked", "found", ""), more)
    )


def _on_chosen_engines(cells: Cells) -> list[tuple[str, float, float]]:
    """The same where every cell runs on the engine that half of its rounds chose, in the other half."""
    fp32, int8 = OURS + CHOSEN, INT8 + CHOSEN
    if not ratios(cells, fp32, TORCH):
        return []
    return [
        ("fp32 on the engine chosen, PyTorch eager", 2.5, geometric(ratios(cells, fp32, TORCH))),
        ("fp32 on the engine chosen, separate sessions", 1.4, geometric(ratios(cells, fp32, SPLIT))),
        ("fp32 on the engine chosen, OpenVINO called directly", 1.15, geometric(ratios(cells, fp32, OPENVINO))),
        ("fp32 on the engine chosen, the fastest peer of a cell, worst cell", 0.9, min(_best_peer(cells, fp32))),
        ("int8 on the engine chosen, PyTorch eager", 5.0, geometric(ratios(cells, int8, TORCH))),
        ("int8 on the engine chosen, our own fp32", 2.0, geometric(ratios(cells, int8, OURS))),
    ]


def _paired(start: dict[str, Any], other: dict[str, Any]) -> float:
    """Times of starts over those of others, turn by turn: their median."""
    return float(np.median(np.divide(start["turns"], other["turns"])))


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"


def _nodes(document: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        (
            f"{name}, {found['variant']}, {found['graph']}, {found['batch']} row{'s' if found['batch'] > 1 else ''}",
            f"{found['ms']:.3g}",
            *(f"{found[kind]:.0%}" for kind in ("products", "moves", "rest")),
            ", ".join(f"{kind} {share:.0%}" for kind, share in found["most"].items()),
        )
        for name, graphs in document.items()
        for found in graphs
    ]
    text = (
        "ONNX Runtime's own times of its nodes, one thread, its profiler on: layers (with the activations they take "
        "in), nodes that only move or convert elements, and everything else: elementwise, norms, sums."
    )
    return text + "\n\n" + table(("", "ms", "layers", "moves", "rest", "most"), rows)


def _floor(document: dict[str, Any]) -> str:
    ours = {
        (c["subject"], c["threads"]): c["p50_ms"]
        for subject in document["subjects"]
        for c in document["cells"]
        if (c["subject"], c["task"], c["batch"], c["who"]) == (subject["name"], "score", subject["batch"], OURS)
    }
    rows = []
    for subject in document["subjects"]:
        for threads, floor in document["floor"].items():
            found, least = ours[subject["name"], int(threads)], subject["mflop"] * subject["batch"] / floor["gflops"]
            what = f"{subject['name']}, {subject['batch']} rows, {count_of_threads(int(threads))}"
            figures = (floor["gflops"], floor["copy_gb_s"], least, found, found / least)
            rows.append((what, *(f"{figure:.3g}" for figure in figures)))
    text = "Products of 1024 x 1024 float32 matrices by PyTorch, copies of 128 MiB, and our fp32 beside them."
    return text + "\n\n" + table(("", "GFLOP/s", "copy GB/s", "floor, ms", "ours, ms", "times the floor"), rows)
