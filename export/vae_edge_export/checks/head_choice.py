"""Which head of a bundle of pictures to decide by: measured on labelled rows, else on defects that are pasted in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.specs import InputSpec

from ..agreement import auroc

Array = NDArray[Any]
_REPEATS = 200
_LEVEL = 0.95


def pasted_rows(x: Array, spec: InputSpec) -> Array:
    """Each picture with a square of an eighth of its sides from another place of another picture (after CutPaste).

    Li, Sohn, Yoon & Pfister 2021. The square is real texture at a wrong place: small, and no outlier of its own.

    Args:
        x: (n, *spec.shape) normal pictures. spec: of layout nchw or nhwc.
    """
    rng = np.random.default_rng(0)
    first = 0 if spec.layout == "nhwc" else 1
    height, width = spec.shape[first : first + 2]
    tall, wide = max(2, height // 8), max(2, width // 8)
    made = x.copy()
    for i in range(len(x)):
        top, left, from_top, from_left = (int(rng.integers(0, side - size + 1))
                                          for side, size in ((height, tall), (width, wide)) * 2)  # fmt: skip
        source = x[(i + 1 + int(rng.integers(0, max(1, len(x) - 1)))) % len(x)]
        to, of = (
            np.s_[top : top + tall, left : left + wide],
            np.s_[from_top : from_top + tall, from_left : from_left + wide],
        )
        if spec.layout == "nhwc":
            made[i][to] = source[of]
        else:
            made[i][:, to[0], to[1]] = source[:, of[0], of[1]]
    return np.asarray(made)


def head_advice(
    default: str,
    scores: Mapping[str, Array],
    labels: NDArray[np.bool_] | None,
    traps: Mapping[str, Mapping[str, float]],
) -> tuple[str, ...]:
    """What to decide by, in words, with the figures that say so; nothing where there is one head.

    Args:
        default: the head that decides.
        scores: per head (n,), of the labelled rows, or of normal rows and as many with a pasted defect.
        labels: (n,) of these rows: True for anomalies; None where they are made up: the second half is spoilt.
        traps: per head, per kind of unnatural row: the probability that one scores above a normal row.
    """
    heads = [head for head in scores if HEADS[head].may_decide]
    if len(heads) < 2:
        return ()
    truth = np.arange(len(scores[default])) >= len(scores[default]) // 2 if labels is None else labels
    figures = {head: _with_interval(np.nan_to_num(scores[head], nan=np.inf), truth) for head in heads}
    best = max(heads, key=lambda head: (figures[head][0], head == default))
    rows = "labelled rows" if labels is not None else "normal pictures with a pasted square"
    table = ", ".join(f"{head} {a:.3f} [{low:.3f}, {high:.3f}]" for head, (a, low, high) in figures.items())
    lines = [f"AUROC on {int(truth.sum())} {rows}, with {_LEVEL:.0%} intervals: {table}"]
    apart = figures[best][1] > figures[default][0]
    if best == default or not apart:
        lines.append(f"decide by '{default}', the default head: no other head is better beyond chance here")
        if best != default:
            more = "label more rows to tell" if labels is not None else "small defects may tell them apart"
            lines.append(f"'{best}' is ahead of '{default}' within chance, {more}: compare both with vae-edge evaluate")
    else:
        lines.append(
            f"decide by '{best}': score --head {best}, or recalibrate --default-head {best}; "
            f"'{default}', the default head, is worse here"
        )
    falls = [kind for kind, share in traps.get(best, {}).items() if share < 0.5]
    if best != default and falls:
        lines.append(f"'{best}' takes {', '.join(falls)} rows for normal; keep '{default}' beside it")
    return tuple(lines)


def _with_interval(scores: Array, truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """AUROC and its bootstrap interval, drawn among the rows of each kind."""
    rng = np.random.default_rng(0)
    normal, anomalous = scores[~truth], scores[truth]
    labels = np.arange(len(scores)) >= len(normal)
    drawn = [
        auroc(np.concatenate([rng.choice(normal, len(normal)), rng.choice(anomalous, len(anomalous))]), labels)
        for _ in range(_REPEATS)
    ]
    low, high = np.quantile(drawn, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return auroc(scores, truth), float(low), float(high)
