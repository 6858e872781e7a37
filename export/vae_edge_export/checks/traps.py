"""Rows that are nothing like normal ones and may score as if they were: the likelihood trap.

A likelihood rewards what is simple: flat or blurred pictures can rank as more normal than the rows a
model was trained on (Nalisnick et al., "Do deep generative models know what they don't know?", 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.specs import InputSpec

from ..agreement import auroc
from ..support import Support

Array = NDArray[Any]

ROWS = 64
"""Unnatural rows of each kind, and normal ones beside them."""


def unnatural_rows(x: Array, spec: InputSpec) -> dict[str, Array]:
    """Rows made from normal rows ``x`` (n, *spec.shape), (n, *spec.shape) of the same dtype each.

    blank: one level everywhere (images), each feature at its mean (windows). noise: uniform over the range
    of each feature. blurred: averaged over an eighth of the row. inverted: low + high - x. shuffled:
    pixels, time steps, or (tables) values of a feature among the rows. Tables have no blank or blurred row:
    one whose features are all at their mean is as normal as a row can be.
    """
    rng = np.random.default_rng(0)
    values = x.astype(np.float64)
    image = spec.layout in ("nchw", "nhwc")
    window = spec.layout == "time_features"
    axes = (0,) if spec.layout == "features" else (0, 1) if window else tuple(range(x.ndim))
    low, high = values.min(axes, keepdims=True), values.max(axes, keepdims=True)
    unnatural = {"noise": low + (high - low) * rng.random(values.shape), "inverted": low + high - values}
    if image:
        levels = np.linspace(low.item(), high.item(), len(x)).reshape(-1, *[1] * (x.ndim - 1))
        unnatural["blank"] = np.broadcast_to(levels, x.shape)
        rows_first = values if spec.layout == "nchw" else np.moveaxis(values, 3, 1)
        blurred = _averaged(_averaged(rows_first, 2), 3)
        pixels = rows_first.reshape(*rows_first.shape[:2], -1)
        shuffled = pixels[:, :, rng.permutation(pixels.shape[2])].reshape(rows_first.shape)
        unnatural |= {
            name: made if spec.layout == "nchw" else np.moveaxis(made, 1, 3)
            for name, made in (("blurred", blurred), ("shuffled", shuffled))
        }
    elif window:
        unnatural["blank"] = np.broadcast_to(values.mean(1, keepdims=True), x.shape)
        unnatural["blurred"] = _averaged(values, 1)
        unnatural["shuffled"] = values[:, rng.permutation(x.shape[1])]
    else:
        flat = values.reshape(len(x), -1)
        unnatural["shuffled"] = rng.permuted(flat, axis=0).reshape(x.shape)
    support = Support.of(x, spec.layout)
    unnatural = {name: support.kept(made) for name, made in unnatural.items()}
    if x.dtype.kind == "u":
        unnatural = {name: np.clip(np.round(made), 0, 255) for name, made in unnatural.items()}
    return {name: np.ascontiguousarray(made, dtype=x.dtype) for name, made in sorted(unnatural.items())}


def spring_traps(
    normal: Array, spec: InputSpec, score: Callable[[Array], Mapping[str, Array]], *, whole: bool
) -> dict[str, dict[str, float]]:
    """Per head, per kind of unnatural row: the probability that one scores above a normal row.

    Args:
        normal: (n, *spec.shape) held-out normal rows.
        score: rows (m, *spec.shape) to the scores (m,) of every head.
        whole: values are classes, whole numbers: what is in between is left out.
    """
    usual = score(normal)
    traps: dict[str, dict[str, float]] = {head: {} for head in usual}
    for kind, rows in unnatural_rows(normal, spec).items():
        if whole and kind in ("noise", "blurred", "blank"):
            continue
        for head, unusual in score(rows).items():
            both = np.concatenate([usual[head], unusual])
            labels = np.arange(len(both)) >= len(normal)
            # An infinite score is as far from normal as can be.
            traps[head][kind] = auroc(np.nan_to_num(both, nan=np.inf), labels)
    return traps


def trap_warnings(traps: Mapping[str, Mapping[str, float]], default: str) -> list[str]:
    """In words: what the default head takes for more normal than normal rows, and which head does not."""
    advised = sorted((row.trap_advice, row.name) for row in HEADS.values() if row.trap_advice is not None)
    others = [head for _, head in advised if head not in traps]
    lines = []
    for kind, share in traps[default].items():
        if share >= 0.5:
            continue
        best = max(traps, key=lambda head: traps[head][kind])
        better = (
            f"the head '{best}' of this bundle tells them apart ({traps[best][kind]:.2f})"
            if traps[best][kind] > 0.5
            else f"no head of this bundle does better; --heads offers {', '.join(others)}"
        )
        lines.append(
            f"likelihood trap: made-up {kind} rows look more normal than normal ones to the head '{default}': one "
            f"scores above a normal row with probability {share:.2f}, and 1 is right; {better}"
        )
    return lines


def _averaged(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Moving average over an eighth of an axis, at least 3 elements; edges repeat their last value."""
    width = max(3, values.shape[axis] // 8) | 1
    padding = [(0, 0)] * values.ndim
    padding[axis] = (width // 2, width // 2)
    padded = np.pad(values, padding, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, width, axis=axis).mean(-1))
