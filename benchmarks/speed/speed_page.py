"""The figures of ``run.py`` as a page and a picture."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TORCH, COMPILED, SPLIT, QUIET, OPENVINO = (
    "PyTorch", "torch.compile", "split sessions", "split sessions, not spinning", "OpenVINO",
)  # fmt: skip
OURS, INT8, BF16 = "vae-edge fp32", "vae-edge int8-cpu", "vae-edge bf16"
CHOSEN, NOT_SPINNING = ", chosen engine", ", not spinning"
PEERS = (TORCH, COMPILED, SPLIT, QUIET, OPENVINO)
Cells = Sequence[dict[str, Any]]


def geometric(values: Iterable[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def page(document: dict[str, Any], picture: str) -> str:
    """The whole page."""
    cells = document["cells"]
    packages = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    parts = [
        "# Speed",
        f"Written by `make bench` on {document['date']}: {document['cpu']}, {document['cores']} cores, "
        f"{document['system']}, Python {document['python']}; {packages}. Load before it: {_load(document)}. "
        "Other machines give other figures; ratios travel better than times.",
        f"![Times as fast as PyTorch, per model, task, batch and threads]({picture})",
        "## What was asked, what came out",
        _targets(document),
        "## Every cell",
        "Median of a call in ms, and in brackets how many times as fast as PyTorch in the same rounds (median over "
        "rounds). All contenders of a row took turns in one process; ours are the public calls, checks included. "
        "`the engine chosen` above: engine and spinning by half of a cell's rounds and the rule of `vae-edge tune`, "
        "timed in the others.",
        *(_cells_of(document, subject) for subject in document["subjects"]),
        "## Tails",
        _tails(cells),
        *_beside(document["beside"]),
        "## Scores",
        _quality(document),
        "## Cold start and memory",
        _cold(document),
        "## Our Python around the engine",
        "Microseconds of a public call of one row, input and output checks included, while the engine answers from "
        "memory; caches warm.",
        _table(
            ("", "score", "sample"),
            [(name, *(f"{us:.1f}" for us in found.values())) for name, found in document["overhead_us"].items()],
        ),
        "## Where the engine's time goes",
        _nodes(document["nodes"]),
        *_stream(document["stream"]),
        "## The machine's floor",
        _floor(document),
        Path(__file__).with_name("ledger.md").read_text("utf-8").strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _load(document: dict[str, Any]) -> str:
    return "unknown" if document["load_before"] is None else f"{document['load_before'][0]:.2f}"


def ratios(cells: Cells, who: str, reference: str, **only: Any) -> list[float]:
    """How many times as fast as the reference, one per cell in which both are."""
    return [
        cell["times_as_fast_as"][reference]
        for cell in cells
        if cell["who"] == who and reference in cell["times_as_fast_as"] and all(cell[k] == v for k, v in only.items())
    ]


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
            share = _int8_share(document, name)
            more.append((f"int8 bytes over fp32's, {name}", "<= 0.30", f"{share:.2f}", _met(share <= 0.30)))
    for name, found in document["errors"].items():
        more.append((f"fp32 score error, {name}", "<= 1e-5", f"{found[OURS]:.1e}", _met(found[OURS] <= 1e-5)))
    return (
        _table(("times as fast as, geometric mean over all cells", "asked", "found", ""), speed)
        + "\n\n"
        + _table(("else", "asked", "found", ""), more)
    )


def _paired(start: dict[str, Any], other: dict[str, Any]) -> float:
    """Times of starts over those of others, turn by turn: their median."""
    return float(np.median(np.divide(start["turns"], other["turns"])))


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


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _cells_of(document: dict[str, Any], subject: dict[str, Any]) -> str:
    cells = [c for c in document["cells"] if c["subject"] == subject["name"] and not c["who"].endswith(CHOSEN)]
    names = list(dict.fromkeys(cell["who"] for cell in cells))
    rows = []
    for key in dict.fromkeys((c["task"], c["batch"], c["threads"]) for c in cells):
        found = {c["who"]: c for c in cells if (c["task"], c["batch"], c["threads"]) == key}
        best = min(c["p50_ms"] for c in found.values())
        shown = []
        for name in names:
            if name not in found:  # one thread has none to wait for
                shown.append("-")
                continue
            text = f"{found[name]['p50_ms']:.3g} ({found[name]['times_as_fast_as'][TORCH]:.2g})"
            shown.append(f"**{text}**" if found[name]["p50_ms"] == best else text)
        rows.append(
            (f"{key[0]}, {key[1]} row{'s' if key[1] > 1 else ''}, {key[2]} thread{'s' if key[2] > 1 else ''}", *shown)
        )
    head = f"### {subject['title'][0].upper()}{subject['title'][1:]}\n\n{subject['mflop']:.3g} MFLOP a score, "
    head += f"{subject['weight_bytes'] / 1e6:.1f} MB of weights."
    return head + "\n\n" + _table(("", *names), rows)


def _tails(cells: Cells) -> str:
    shown = (TORCH, SPLIT, OPENVINO, OURS, OURS + NOT_SPINNING, INT8, INT8 + NOT_SPINNING, BF16)
    rows = [
        (
            f"{c['subject']}, {_threads(c['threads'])}",
            c["who"],
            *(_number(c[p]) for p in ("p50_ms", "p95_ms", "p99_ms")),
        )
        for c in cells
        if c["who"] in shown and c["task"] == "score" and c["batch"] == 1
    ]
    text = "Score of one row, ms; a percentile is shown where there were calls enough for it."
    return text + "\n\n" + _table(("", "", "p50", "p95", "p99"), rows)


def _beside(found: dict[str, Any]) -> list[str]:
    """A section where it was measured."""
    if not found:
        return []
    rows = [
        (
            f"{name}, {batch} row{'s' if int(batch) > 1 else ''}",
            *(f"{_number(one['p50_ms'])} / {_number(one['p95_ms'])}" for one in ways.values()),
        )
        for name, batches in found.items()
        for batch, ways in batches.items()
    ]
    ways = next(iter(next(iter(found.values())).values()))
    return [
        "## Beside other work",
        "Score in fp32 on ONNX Runtime while another process keeps one core busy: p50 / p95 in ms.",
        _table(("", *ways), rows),
    ]


def _quality(document: dict[str, Any]) -> str:
    shown = (TORCH, SPLIT, OPENVINO, OURS, INT8, BF16)
    rows = [
        (f"{name}, {way}", str(q["rows"]), f"{found['spearman']:.4f}", f"{q['auroc']:.4f}", f"{found['auroc']:.4f}",
         f"{found['equal_decisions']:.2%}", f"{_int8_share(document, name):.2f}" if way == "int8" else "1")
        for name, q in document["quality"].items() for way, found in q["ways"].items()
    ]  # fmt: skip
    head = ("", "rows", "Spearman", "AUROC fp32", "its own", "equal decisions", "bytes of the graphs / fp32")
    errors = [
        (name, *(f"{found[who]:.1e}" if who in found else "-" for who in shown))
        for name, found in document["errors"].items()
    ]
    return (
        "int8-cpu with its own calibrated threshold, and bfloat16 with fp32's, against fp32, on rows that nothing else "
        f"saw, half of them anomalies:\n\n{_table(head, rows)}\n\nLargest relative difference of a score from "
        f"PyTorch's in float64, 16 rows:\n\n{_table(('', *shown), errors)}"
    )


def _int8_share(document: dict[str, Any], name: str) -> float:
    found = next(s for s in document["subjects"] if s["name"] == name)["variant_bytes"]
    return float(found["int8-cpu"] / found["fp32"])


def _cold(document: dict[str, Any]) -> str:
    names = list(next(iter(document["cold"].values())))
    rows = [
        (subject, *(_start(found[who]) if who in found else "-" for who in names))
        for subject, found in document["cold"].items()
    ]
    turns = len(next(iter(document["cold"].values()))[OURS]["turns"])
    text = (
        f"From starting a process to its first score, two threads, files in the page cache: median of {turns}, turns "
        "taken; largest peak. `imports` is numpy, ONNX Runtime and one bare inference of the same graph."
    )
    return text + "\n\n" + _table(("", *names), rows)


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
    return text + "\n\n" + _table(("", "ms", "layers", "moves", "rest", "most"), rows)


def _stream(found: dict[str, dict[str, float]]) -> list[str]:
    """A section where streams were measured."""
    if not found:
        return []
    rows = [(name, *(f"{rate:.0f}" for rate in rates.values())) for name, rates in found.items()]
    return [
        "## Streams",
        "Frames per second of a live source, one thread, at which 99 of 100 decisions come within 50 ms and none is "
        "dropped, in steps of 15 %.",
        _table(("", *next(iter(found.values()))), rows),
    ]


def _start(found: dict[str, float]) -> str:
    return f"{np.median(found['turns']):.2f} s, {found['peak_mb']:.0f} MB"


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
            what = f"{subject['name']}, {subject['batch']} rows, {_threads(int(threads))}"
            figures = (floor["gflops"], floor["copy_gb_s"], least, found, found / least)
            rows.append((what, *(f"{figure:.3g}" for figure in figures)))
    text = "Products of 1024 x 1024 float32 matrices by PyTorch, copies of 128 MiB, and our fp32 beside them."
    return text + "\n\n" + _table(("", "GFLOP/s", "copy GB/s", "floor, ms", "ours, ms", "times the floor"), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def figure(document: dict[str, Any]) -> bytes:
    """A dot per cell and contender: how many times as fast as PyTorch; bars are geometric means."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    cells = document["cells"]
    names = [name for name in dict.fromkeys(c["who"] for c in cells) if name != TORCH and not name.endswith(CHOSEN)]
    canvas, axes = pyplot.subplots(figsize=(9, 0.55 * len(names) + 1.6), layout="constrained")
    colours = {s["name"]: f"C{i}" for i, s in enumerate(document["subjects"])}
    for at, name in enumerate(names[::-1]):
        found = [c for c in cells if c["who"] == name]
        axes.barh(
            at, geometric(ratios(cells, name, TORCH)), color="0.85" if not name.startswith("vae-edge") else "0.72"
        )
        for subject, colour in colours.items():
            x = [c["times_as_fast_as"][TORCH] for c in found if c["subject"] == subject]
            spread = at + np.linspace(-0.22, 0.22, len(x))
            axes.scatter(x, spread, s=18, color=colour, label=subject if at == 0 else None, zorder=3)
    axes.set_xscale("log", base=2)
    axes.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlabel("times as fast as PyTorch eager, same rounds (bar: geometric mean over its cells)")
    axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110)
    pyplot.close(canvas)
    return buffer.getvalue()
