"""Rows scored by every head, in bounded pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import VAE, Status, arguments
from vae_edge_runtime.errors import InputError, OptionError

from .pixels import map_shape, sum_channels

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class HeadRows:
    """What one head says about n rows.

    Attributes:
        score: (n,) float64, NaN where a row was not scored.
        threshold: calibrated; None where the bundle carries no calibration.
        promised_rate: of false positives, what the threshold stands for; None without one.
        calibration_rows: that the threshold comes from; 0 without one.
        warning: why the threshold does not hold for these rows, or None.
    """

    score: NDArray[np.float64]
    threshold: float | None
    promised_rate: float | None
    calibration_rows: int
    warning: str | None = None

    @property
    def flagged(self) -> NDArray[np.bool_] | None:
        """(n,) bool: score > threshold, False where a row was not scored; None without a threshold."""
        return None if self.threshold is None else np.greater(self.score, self.threshold)


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """n rows in their order.

    Attributes:
        heads: by name.
        status: (n,) uint8 of ``Status``.
        maps: (n, h, w) float32, channels summed; None where they were not asked for.
    """

    heads: dict[str, HeadRows]
    status: NDArray[np.uint8]
    maps: NDArray[Any] | None

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(n,) bool: which rows were scored."""
        return np.equal(self.status, Status.OK)

    @property
    def not_scored(self) -> dict[str, int]:
        """Rows per status other than ok."""
        counts = [(s.name.lower(), int((self.status == s).sum())) for s in Status if s != Status.OK]
        return {name: count for name, count in counts if count}


def score_rows(
    vae: VAE,
    x: NDArray[Any],
    *,
    condition: Any = None,
    heads: str | tuple[str, ...] = "all",
    maps: bool = False,
    progress: Callable[[int], object] = lambda rows: None,
) -> ScoredRows:
    """Score rows (n, *input_shape) by ``heads``, 1,024 at once.

    Args:
        vae: the session.
        x, condition: as ``VAE.score`` takes them; a condition is one per row.
        heads: names, or ``all``.
        maps: also keep the map of every image.
        progress: called with the number of rows done since the last call.

    Raises:
        OptionError: the bundle has no such head, or maps of rows that are no images were asked for.
        InputError: ``x`` does not fit the model.
    """
    if not hasattr(vae, "score"):
        raise OptionError(f"vae is a {type(vae).__name__}; pass a session: load(...)")
    names, spec = tuple(dict.fromkeys(arguments.heads(heads, vae.heads))), vae.manifest.input
    arguments.function("progress", progress)
    for name, array in (("x", x), ("condition", condition)):
        if not ((isinstance(array, np.ndarray) and array.ndim) or (name == "condition" and array is None)):
            raise InputError(f"{name} is a {type(array).__name__} without rows; pass an array (n, ...)")
    if arguments.flag("maps", maps):
        map_shape(spec)  # refuses rows that are no images, before the work
    pieces: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    thresholds: dict[str, float | None] = {}
    warnings: dict[str, str | None] = {}
    statuses: list[NDArray[np.uint8]] = []
    pictures: list[NDArray[Any]] = []
    at_once = ROWS_AT_ONCE if spec.overlap is None else 1  # a picture of many tiles may fill the memory
    for start in range(0, max(len(x), 1), at_once):
        part = slice(start, start + at_once)
        own_condition = None if condition is None else condition[part]
        scores = vae.score(np.ascontiguousarray(x[part]), condition=own_condition, maps=maps, heads=names)
        for name in names:
            pieces[name].append(scores.heads[name].score.astype(np.float64))
            thresholds[name] = scores.heads[name].threshold
            warnings[name] = warnings.get(name) or scores.heads[name].warning
        statuses.append(scores.status)
        if maps:
            pictures.append(sum_channels(scores.map, spec.layout))
        progress(len(scores))
    by_head = {
        name: HeadRows(np.concatenate(pieces[name]), thresholds[name], *_promise(vae, name), warnings[name])
        for name in names
    }
    return ScoredRows(by_head, np.concatenate(statuses), np.concatenate(pictures) if maps else None)


def _promise(vae: VAE, head: str) -> tuple[float | None, int]:
    """What the head's threshold stands for, and how many rows back it."""
    calibration = vae.calibrations.get(head)
    return (calibration.false_positive_rate, calibration.n) if calibration else (None, 0)
