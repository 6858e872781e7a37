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
    drawn = _drawn({head: np.nan_to_num(scores[head], nan=np.inf) for head in heads}, truth)
    figures = {head: (float(values[0]), *_interval(values[1:])) for head, values in drawn.items()}
    best = max(heads, key=lambda head: (figures[head][0], head == default))
    rows = "labelled rows" if labels is not None else "normal pictures with a pasted square"
    table = ", ".join(f"{head} {a:.3f} [{low:.3f}, {high:.3f}]" for head, (a, low, high) in figures.items())
    lines = [f"AUROC on {int(truth.sum())} {rows}, with {_LEVEL:.0%} intervals: {table}"]
    # The same rows are drawn for both: what is hard for one head is hard for the other, and cancels.
    by, low, high = drawn[best][0] - drawn[default][0], *_interval((drawn[best] - drawn[default])[1:])
    if best == default:
        lines.append(f"decide by '{default}', the default head: no other head is better here")
    elif low <= 0:
        more = "label more rows to tell" if labels is not None else "labelled pictures (--evaluation) can tell"
        lines.append(
            f"decide by '{default}', the default head: '{best}' is better by {by:.3f} [{low:.3f}, {high:.3f}], which "
            f"may be chance; {more}"
        )
    else:
        lines.append(
            f"decide by '{best}': score --head {best}, or recalibrate --default-head {best}; "
            f"'{default}', the default head, is worse by {by:.3f} [{low:.3f}, {high:.3f}]"
        )
    falls = [kind for kind, share in traps.get(best, {}).items() if share < 0.5]
    if best != default and falls:
        lines.append(f"'{best}' takes {', '.join(falls)} rows for normal; keep '{default}' beside it")
    return tuple(lines)


def _drawn(scores: Mapping[str, Array], truth: NDArray[np.bool_]) -> dict[str, Array]:
    """AUROC per head, (1 + repeats,): of all rows, then of rows drawn anew among each kind, the same for every head."""
    rng = np.random.default_rng(0)
    kinds = [np.flatnonzero(~truth), np.flatnonzero(truth)]
    labels = np.arange(len(truth)) >= len(kinds[0])
    draws = [np.concatenate(kinds)]
    draws += [np.concatenate([rng.choice(rows, len(rows)) for rows in kinds]) for _ in range(_REPEATS)]
    return {head: np.array([auroc(values[rows], labels) for rows in draws]) for head, values in scores.items()}


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return float(low), float(high)
