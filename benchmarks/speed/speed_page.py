"""The figures of ``run.py`` as the page for users and its picture."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
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
    """The page for users: how fast, how much memory, which scores, and how to measure it again."""
    cells = document["cells"]
    parts = [
        "# Speed",
        "This page shows how fast a bundle runs on a CPU beside PyTorch and other engines, how much memory it takes, "
        "and what the smaller variants do to the scores.",
        "```bash\nmake bench  # measures all of it again: half an hour on a machine that does nothing else\n```",
        "For a bundle of your own, see [Benchmarking](benchmarking.md): `vae-edge bench` measures it on your device, "
        "and `vae-edge tune` finds its fastest variant and engine.",
        "## In short",
        _in_short(document),
        measured(document),
        f"![Times as fast as PyTorch, per model, task, batch and threads]({picture})",
        "## Every cell",
        "Median of a call in ms, and in brackets how many times as fast as PyTorch in the same rounds (median over "
        "rounds). All contenders of a row took turns in one process; ours are the public calls, checks included.",
        *(_cells_of(document, subject) for subject in document["subjects"]),
        "## Cold start and memory",
        _cold(document),
        "## Scores",
        _quality(document),
        "## Tails",
        _tails(cells),
        *_beside(document["beside"]),
        *_stream(document["stream"]),
        *_isolation(document["isolation"]),
        "## What was asked and what was tried",
        "[Targets](../benchmarks/speed/targets.md) compares these figures with the project's own targets, and shows "
        "where the time goes. [The ledger](../benchmarks/speed/ledger.md) lists every change that was measured, and "
        "says why targets are missed.",
    ]
    return "\n\n".join(parts) + "\n"


def _in_short(document: dict[str, Any]) -> str:
    """Means over all cells, and per model what a user asks first: a score, a start, the memory of it."""
    cells = document["cells"]
    means = [
        f"with {variant} graphs it is {geometric(ratios(cells, who, TORCH)):.3g} times as fast as PyTorch eager"
        for who, variant in ((OURS, "fp32"), (INT8, "int8-cpu"))
        if ratios(cells, who, TORCH)
    ]
    rows = []
    for subject in document["subjects"]:
        ms = {c["who"]: c["p50_ms"] for c in cells if (c["subject"], c["task"], c["batch"], c["threads"]) == (
            subject["name"], "score", 1, 1)}  # fmt: skip
        times = [f"{ms[who]:.3g} ms" if who in ms else "-" for who in (TORCH, OURS, INT8)]
        starts = document["cold"].get(subject["name"], {})
        rows.append((_heading(subject), *times, *(_start(starts[w]) if w in starts else "-" for w in (TORCH, OURS))))
    scores = ("score of 1 row: PyTorch", "vae-edge fp32", "vae-edge int8-cpu")
    head = ("", *scores, "start to first score, peak memory: PyTorch", "vae-edge fp32")
    return (
        f"A bundle beside PyTorch: {', '.join(means)} (geometric means over all cells below). Times of a score "
        f"are medians with one thread.\n\n{table(head, rows)}"
    )


def measured(document: dict[str, Any]) -> str:
    """When, where and on what: one paragraph."""
    packages = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    return (
        f"Written by `make bench` on {document['date']}: {document['cpu']}, {document['cores']} cores, "
        f"{document['system']}, Python {document['python']}; {packages}. The load before it was {_load(document)}. "
        "Other machines give other figures; ratios travel better than times."
    )


def _load(document: dict[str, Any]) -> str:
    return "unknown" if document["load_before"] is None else f"{document['load_before'][0]:.2f}"


def ratios(cells: Cells, who: str, reference: str, **only: Any) -> list[float]:
    """How many times as fast as the reference, one per cell in which both are."""
    return [
        cell["times_as_fast_as"][reference]
        for cell in cells
        if cell["who"] == who and reference in cell["times_as_fast_as"] and all(cell[k] == v for k, v in only.items())
    ]


def count_of_threads(count: int) -> str:
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
    head = f"### {_heading(subject)}\n\n{subject['mflop']:.3g} MFLOP a score, "
    head += f"{subject['weight_bytes'] / 1e6:.1f} MB of weights."
    return head + "\n\n" + table(("", *names), rows)


def _heading(subject: dict[str, Any]) -> str:
    title: str = subject["title"]
    return title[0].upper() + title[1:]


def _tails(cells: Cells) -> str:
    shown = (TORCH, SPLIT, OPENVINO, OURS, OURS + NOT_SPINNING, INT8, INT8 + NOT_SPINNING, BF16)
    rows = [
        (
            f"{c['subject']}, {count_of_threads(c['threads'])}",
            c["who"],
            *(_number(c[p]) for p in ("p50_ms", "p95_ms", "p99_ms")),
        )
        for c in cells
        if c["who"] in shown and c["task"] == "score" and c["batch"] == 1
    ]
    text = "Score of one row, ms; a percentile is shown where there were calls enough for it."
    return text + "\n\n" + table(("", "", "p50", "p95", "p99"), rows)


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
        table(("", *ways), rows),
    ]


def _quality(document: dict[str, Any]) -> str:
    shown = (TORCH, SPLIT, OPENVINO, OURS, INT8, BF16)
    rows = [
        (f"{name}, {way}", str(q["rows"]), f"{found['spearman']:.4f}", f"{q['auroc']:.4f}", f"{found['auroc']:.4f}",
         f"{found['equal_decisions']:.2%}", f"{int8_share(document, name):.2f}" if way == "int8" else "1")
        for name, q in document["quality"].items() for way, found in q["ways"].items()
    ]  # fmt: skip
    head = ("", "rows", "Spearman", "AUROC fp32", "its own", "equal decisions", "bytes of the graphs / fp32")
    errors = [
        (name, *(f"{found[who]:.1e}" if who in found else "-" for who in shown))
        for name, found in document["errors"].items()
    ]
    return (
        "int8-cpu with its own calibrated threshold, and bfloat16 with fp32's, against fp32, on rows that nothing else "
        f"saw, half of them anomalies:\n\n{table(head, rows)}\n\nLargest relative difference of a score from "
        f"PyTorch's in float64, 16 rows:\n\n{table(('', *shown), errors)}"
    )


def int8_share(document: dict[str, Any], name: str) -> float:
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
    return text + "\n\n" + table(("", *names), rows)


def _stream(found: dict[str, dict[str, float]]) -> list[str]:
    """A section where streams were measured."""
    if not found:
        return []
    rows = [(name, *(f"{rate:.0f}" for rate in rates.values())) for name, rates in found.items()]
    return [
        "## Streams",
        "Frames per second of a live source, one thread, at which 99 of 100 decisions come within 50 ms and none is "
        "dropped, in steps of 15 %.",
        table(("", *next(iter(found.values()))), rows),
    ]


def _isolation(costs: dict[str, Any]) -> list[str]:
    """A section where it was measured."""
    if not costs:
        return []
    rows = []
    for name, cost in costs.items():
        plain, isolated = (f"{cost['start_s'][way]:.2f} s" for way in ("plain", "isolated"))
        rows.append((f"{name}, load to first score", plain, isolated))
        for batch, ways in cost["score"].items():
            times = (f"{_number(ways[way]['p50_ms'])} / {_number(ways[way]['p95_ms'])} ms" for way in ways)
            rows.append((f"{name}, score of {batch} row{'s' if int(batch) > 1 else ''}", *times))
    return [
        "## Isolation",
        "The plain session beside `load(..., isolate=True)`, whose engine runs in a process of its own: fp32 on ONNX "
        "Runtime, one thread, turns taken in one process. A start is a median, a score is p50 / p95.",
        table(("", "plain", "isolated"), rows),
    ]


def _start(found: dict[str, float]) -> str:
    return f"{np.median(found['turns']):.2f} s, {found['peak_mb']:.0f} MB"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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
