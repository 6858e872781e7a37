"""Curves and histograms of an evaluation, as one PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require

from .metrics import check_scored, ranking
from .scored import HeadRows, ScoredRows

_WHY = "--plot"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Told apart by colour-blind eyes (Okabe & Ito 2008); the line style changes when they are used up."""
_STYLES = ("-", "--", ":")
_NORMAL, _ANOMALOUS = "#0072b2", "#d55e00"
_BINS = 40
_WIDE_RANGE = 20.0


def figure_png(scored: ScoredRows, labels: Any) -> bytes:
    """ROC and precision-recall curve of every head, then a histogram per head with its threshold.

    Args:
        scored: the rows; those without a score are left out.
        labels: (n,), 1 for an anomaly.

    Raises:
        MissingDependency: matplotlib or scikit-learn is not installed.
        InputError: as ``judge``.
    """
    require("matplotlib", extra="evaluate", why=_WHY)
    figure_class = require("matplotlib.figure", extra="evaluate", why=_WHY).Figure
    canvas_class = require("matplotlib.backends.backend_agg", extra="evaluate", why=_WHY).FigureCanvasAgg
    ok, truth = scored.ok, np.asarray(labels, dtype=bool)
    lines = 1 + (len(scored.heads) + 1) // 2
    figure = figure_class(figsize=(9, 3.4 * lines), layout="constrained")
    canvas_class(figure)
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    _curves(axes[0], axes[1], scored, truth)
    for ax, (name, head) in zip(axes[2:], scored.heads.items(), strict=False):
        _histogram(ax, name, head, head.score[ok], truth[ok])
    for ax in axes[2 + len(scored.heads) :]:
        ax.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _curves(roc: Any, recall: Any, scored: ScoredRows, truth: NDArray[np.bool_]) -> None:
    sklearn = require("sklearn.metrics", extra="evaluate", why=_WHY)
    for i, (name, head) in enumerate(scored.heads.items()):
        score, labels = check_scored(head.score[scored.ok], truth[scored.ok])
        look = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _STYLES[i // len(_COLOURS) % len(_STYLES)]}
        ranked = ranking(score, labels)
        false_rate, true_rate, _ = sklearn.roc_curve(labels, score)
        roc.plot(false_rate, true_rate, label=f"{name} {ranked.auroc:.3f}", **look)
        precision, recalls, _ = sklearn.precision_recall_curve(labels, score)
        recall.step(recalls, precision, where="post", label=f"{name} {ranked.average_precision:.3f}", **look)
        if head.flagged is not None:
            flagged = head.flagged[scored.ok]
            roc.plot(flagged[~labels].mean(), flagged[labels].mean(), "o", color=look["color"])
    roc.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    recall.axhline(truth[scored.ok].mean(), color="#bbbbbb", linewidth=0.8)
    roc.set(title="ROC, dots: the calibrated thresholds", xlabel="false positive rate", ylabel="recall")
    recall.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    roc.legend(title="AUROC", fontsize="small")
    recall.legend(title="average precision", fontsize="small")


def _histogram(ax: Any, name: str, head: HeadRows, score: NDArray[np.float64], truth: NDArray[np.bool_]) -> None:
    """Counts per bin; the axis is logarithmic where anomalies would squash the normal rows into one bin."""
    low, high = float(score.min()), float(score.max())
    wide = low > 0 and high > _WIDE_RANGE * float(np.median(score[~truth]))
    edges = np.geomspace(low, high, _BINS + 1) if wide else np.histogram_bin_edges(score, _BINS)
    parts = (("normal", score[~truth], _NORMAL), ("anomalous", score[truth], _ANOMALOUS))
    for label, part, colour in parts:
        ax.hist(part, edges, alpha=0.6, color=colour, label=label)
    if head.threshold is not None:
        ax.axvline(head.threshold, color="black", linewidth=1, label=f"threshold {head.threshold:.4g}")
    ax.set(title=name, xlabel="score", ylabel="rows", xscale="log" if wide else "linear")
    ax.legend(fontsize="small")
