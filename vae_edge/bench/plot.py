"""Latencies of a report, as one PNG."""

from __future__ import annotations

import io
from pathlib import Path

from vae_edge_runtime.dependencies import require

from .report import BenchReport, CellFigures, threads_text

_WHY = "--plot"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Told apart by colour-blind eyes (Okabe & Ito 2008)."""


def figure_png(report: BenchReport) -> bytes:
    """A panel per batch, a bar per cell: p50, with marks at p95 and p99.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    require("matplotlib", extra="evaluate", why=_WHY)
    figure_class = require("matplotlib.figure", extra="evaluate", why=_WHY).Figure
    canvas_class = require("matplotlib.backends.backend_agg", extra="evaluate", why=_WHY).FigureCanvasAgg
    batches = sorted({c.cell.batch for c in report.cells})
    panels = {batch: [c for c in report.cells if c.cell.batch == batch] for batch in batches}
    tallest = max(len(cells) for cells in panels.values())
    figure = figure_class(figsize=(5.5 * len(batches), 1.6 + 0.45 * tallest), layout="constrained")
    canvas_class(figure)
    variants = list(dict.fromkeys(c.cell.variant for c in report.cells))
    for ax, (batch, cells) in zip(figure.subplots(1, len(batches), squeeze=False)[0], panels.items(), strict=True):
        for place, c in enumerate(cells):
            colour = _COLOURS[variants.index(c.cell.variant) % len(_COLOURS)]
            ax.barh(place, c.latency.p50_ms, color=colour, alpha=0.75)
            for value, mark in ((c.latency.p95_ms, "|"), (c.latency.p99_ms, "x")):
                if value is not None:
                    ax.plot(value, place, mark, color="black", markersize=11 if mark == "|" else 6)
        ax.set_yticks(range(len(cells)), [_name(c) for c in cells])
        ax.invert_yaxis()
        ax.set(title=f"{report.task}, batch {batch}", xlabel="ms per call", xlim=(0, None))
        ax.grid(axis="x", color="#dddddd")
        ax.set_axisbelow(True)
    figure.suptitle(f"{Path(report.bundle).name}    bar: p50    |: p95    x: p99", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _name(c: CellFigures) -> str:
    return f"{c.cell.variant} {c.cell.device}\n{threads_text(c.cell.threads)}"
