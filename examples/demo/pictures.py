"""Four pictures of what the device computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NORMAL, ANOMALY, INK, QUIET = "#2f6f9f", "#d1495b", "#22272e", "#8a929c"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
WIDTH_INCHES, DPI = 7.6, 150

Images = np.ndarray[Any, Any]


def draw(folder: Path, held_out: Any, device: Any, threshold: float) -> list[Path]:
    """Write samples, reconstructions, maps and scores as PNG; returns their paths.

    Args:
        folder: to write to.
        held_out: ``x`` (n, 28, 28, 1) uint8, ``y`` (n,) 1 for anomalies.
        device: what ``device.py`` wrote.
        threshold: above it a row is called an anomaly, nats.
    """
    x, y = held_out["x"][..., 0], held_out["y"].astype(bool)
    with plt.rc_context(STYLE):
        pictures = {
            "samples": _samples(device["samples"][..., 0]),
            "reconstructions": _reconstructions(x, device["reconstructions"][..., 0], y, held_out["digit"]),
            "maps": _maps(x, device["map"][..., 0], device["score"], y, held_out["digit"], threshold),
            "scores": _scores(device["score"], y, threshold),
        }
        paths = []
        for name, figure in pictures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=DPI, metadata={"Software": None})
            plt.close(figure)
    return paths


def choose(digit: Images, y: Images, *, anomalies: bool, n: int) -> list[int]:
    """The first rows of each class in turn: nothing is picked by how well it came out."""
    kinds = sorted(set(digit[y == anomalies].tolist()))
    rows = {kind: np.flatnonzero((digit == kind) & (y == anomalies)) for kind in kinds}
    return [int(rows[kinds[i % len(kinds)]][i // len(kinds)]) for i in range(n)]


def _title(figure: Figure, title: str, explanation: str) -> None:
    height = float(figure.get_size_inches()[1])
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=12, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.38 / height, explanation, color=QUIET, va="top")


def _blank(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _grid(rows: int, columns: int, *, left: float, below: float, gap: float, above: float = 0.0) -> tuple[Figure, Any]:
    """Square cells; inches ``left`` of them, ``below`` and ``gap`` between them, ``above`` them for labels."""
    cell = (WIDTH_INCHES - left - 0.15 - gap * (columns - 1)) / columns
    height = 0.72 + above + rows * (cell + below)
    figure = plt.figure(figsize=(WIDTH_INCHES, height))
    axes = np.empty((rows, columns), dtype=object)
    for r in range(rows):
        for c in range(columns):
            bottom = height - 0.68 - above - (r + 1) * cell - r * below
            box = (left + c * (cell + gap), bottom, cell, cell)
            axes[r, c] = figure.add_axes((box[0] / WIDTH_INCHES, box[1] / height, cell / WIDTH_INCHES, cell / height))
            _blank(axes[r, c])
    return figure, axes


def _frame(axes: Axes, image: Images, colour: str | None = None) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if colour:
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=1.4)


def _row_label(axes: Axes, text: str, colour: str = INK) -> None:
    axes.text(-0.12, 0.5, text, ha="right", va="center", color=colour, transform=axes.transAxes, linespacing=1.4)


def _group_labels(cells: Any, n: int) -> None:
    """What the first and the second n columns are."""
    for first, text, colour in ((cells[0], "normal", NORMAL), (cells[n], "anomalous", ANOMALY)):
        first.text(0, 1.12, text, color=colour, fontweight="bold", va="bottom", transform=first.transAxes)


def _samples(samples: Images) -> Figure:
    columns = 15
    rows = len(samples) // columns
    figure, axes = _grid(rows, columns, left=0.15, below=0.05, gap=0.05)
    for cell, image in zip(axes.flat, samples, strict=True):
        _frame(cell, image)
    _title(
        figure,
        f"{len(samples)} digits nobody wrote",
        "decoded on the device from noise, seed 7, temperature 0.8; the model has seen only 1, 4, 7 and 9",
    )
    return figure


def _reconstructions(x: Images, rebuilt: Images, y: Images, digit: Images) -> Figure:
    n = 6
    groups = [(NORMAL, choose(digit, y, anomalies=False, n=n)), (ANOMALY, choose(digit, y, anomalies=True, n=n))]
    figure, axes = _grid(2, 2 * n, left=0.85, below=0.06, gap=0.06, above=0.2)
    for g, (colour, rows) in enumerate(groups):
        for c, row in enumerate(rows):
            _frame(axes[0, g * n + c], x[row], colour)
            _frame(axes[1, g * n + c], rebuilt[row], colour)
    _row_label(axes[0, 0], "input")
    _row_label(axes[1, 0], "rebuilt")
    _group_labels(axes[0], n)
    _title(
        figure,
        "Normal digits come back clean, the others do not",
        "held-out digits and what the model makes of them; it was trained on 1, 4, 7 and 9",
    )
    return figure


def _maps(x: Images, maps: Images, score: Images, y: Images, digit: Images, threshold: float) -> Figure:
    n = 6
    rows = [*choose(digit, y, anomalies=False, n=n), *choose(digit, y, anomalies=True, n=n)]
    figure, axes = _grid(2, 2 * n, left=0.85, below=0.06, gap=0.06, above=0.2)
    strongest = float(np.quantile(maps[rows], 0.995))
    for c, row in enumerate(rows):
        colour = ANOMALY if score[row] > threshold else NORMAL
        _frame(axes[0, c], x[row], colour)
        axes[1, c].imshow(x[row], cmap="gray", vmin=0, vmax=510, interpolation="nearest")
        share = np.clip(maps[row] / strongest, 0, 1)
        axes[1, c].imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=np.sqrt(share), interpolation="nearest")
        axes[1, c].text(
            0.5, -0.12, f"{score[row]:.0f}", ha="center", va="top", color=colour, transform=axes[1, c].transAxes
        )
    _row_label(axes[0, 0], "input")
    _row_label(axes[1, 0], "surprise\nper pixel")
    axes[1, 0].text(-0.12, -0.12, "score", ha="right", va="top", color=INK, transform=axes[1, 0].transAxes)
    _group_labels(axes[0], n)
    _extend_down(figure, 0.18)
    _title(
        figure,
        "What the model did not expect",
        f"bright: surprising pixels; red frame and score: above the threshold of {threshold:.0f} nats, so an alarm",
    )
    return figure


def _extend_down(figure: Figure, inches: float) -> None:
    """Room under the grid, nothing moved."""
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        bottom, tall = (box.y0 * height + inches) / (height + inches), box.height * height / (height + inches)
        axes.set_position((box.x0, bottom, box.width, tall))
    figure.set_size_inches(width, height + inches)


def _scores(score: Images, y: Images, threshold: float) -> Figure:
    figure = plt.figure(figsize=(WIDTH_INCHES, 3.3))
    axes = figure.add_axes((0.07, 0.15, 0.9, 0.62))
    edges = np.linspace(float(score.min()), float(np.quantile(score, 0.995)), 60)
    caught, alarms = float((score[y] > threshold).mean()), float((score[~y] > threshold).mean())
    for chosen, colour, name in ((~y, NORMAL, "normal"), (y, ANOMALY, "anomalous")):
        values = np.minimum(score[chosen], edges[-1])
        axes.hist(values, edges, color=colour, alpha=0.75, label=f"{name}, {chosen.sum()} digits")
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.text(threshold, axes.get_ylim()[1], f" threshold {threshold:.0f}", va="top", ha="left")
    axes.set_xlabel("score: negative ELBO at the posterior mean, nats (the last bar: and above)")
    axes.set_ylabel("digits")
    axes.legend(frameon=False, loc="upper right")
    _title(
        figure,
        "One threshold, set on normal digits alone",
        f"held-out digits: {caught:.1%} of the anomalies are above it, and {alarms:.1%} of the normal digits",
    )
    return figure
