"""Scores of both, row by row, as one PNG."""

from __future__ import annotations

import io

import numpy as np

from vae_edge_runtime.dependencies import require

from .run import Compared

_WHY = "--plot"
_ALIKE, _DIFFERENT = "#0072b2", "#d55e00"
_BINS = 40
_WIDE_RANGE = 20.0


def figure_png(compared: Compared) -> bytes:
    """Score by b over score by a with both thresholds, rows decided differently marked; a histogram of b / a.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    require("matplotlib", extra="evaluate", why=_WHY)
    figure_class = require("matplotlib.figure", extra="evaluate", why=_WHY).Figure
    canvas_class = require("matplotlib.backends.backend_agg", extra="evaluate", why=_WHY).FigureCanvasAgg
    a, b = compared.a, compared.b
    ok = np.isfinite(a.score) & np.isfinite(b.score)
    x, y = a.score[ok], b.score[ok]
    flagged_a, flagged_b = a.flagged, b.flagged
    other = np.zeros(len(x), bool) if flagged_a is None or flagged_b is None else (flagged_a != flagged_b)[ok]
    figure = figure_class(figsize=(9, 4), layout="constrained")
    canvas_class(figure)
    scatter, histogram = figure.subplots(1, 2)
    scatter.plot(x[~other], y[~other], ".", markersize=3, color=_ALIKE, label="decided alike")
    scatter.plot(x[other], y[other], "x", color=_DIFFERENT, label=f"decided differently ({int(other.sum())})")
    low, high = (np.concatenate([x, y]).min(), np.concatenate([x, y]).max()) if len(x) else (0.0, 0.0)
    for line, threshold in ((scatter.axvline, a.threshold), (scatter.axhline, b.threshold)):
        if threshold is not None:
            line(threshold, color="black", linewidth=0.8)
    scale = "log" if low > 0 and high > _WIDE_RANGE * low else "linear"
    scatter.set(title="scores, lines: thresholds", xlabel="a", ylabel="b", xscale=scale, yscale=scale)
    scatter.legend(fontsize="small")
    histogram.hist(y[x != 0] / x[x != 0], _BINS, color=_ALIKE)
    histogram.set(title="score by b over score by a", xlabel="b / a", ylabel="rows")
    figure.suptitle(f"a: {compared.comparison.a}    b: {compared.comparison.b}", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
