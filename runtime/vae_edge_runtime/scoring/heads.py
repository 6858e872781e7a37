"""The scores of a row by every head, from what the graphs computed: one definition for export and device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..format.heads import HEADS
from ..format.specs import LatentSpec, ScoreSpec, element_count
from ..record import record
from ..sampling.noise import standard_normal
from ..statistics.conformal import ScoreSketch
from ..statistics.mahalanobis import LatentStatistics

F32 = NDArray[np.float32]
Outputs = Mapping[str, NDArray[Any]]

_NOISE_SEED, _NOISE_STREAM = 0, 2


@record(frozen=True, eq=False)
class Fitted:
    """What calibration knows and graphs do not.

    Attributes:
        latent: for ``mahalanobis``. typical_score: for ``typicality``, in the unit of the score.
        sketches: per head, for ensembles.
    """

    latent: LatentStatistics | None
    typical_score: float | None
    sketches: Mapping[str, ScoreSketch]


def _mahalanobis(outputs: Outputs, fitted: Fitted) -> F32:
    assert fitted.latent is not None  # the manifest has it wherever it has the head
    return fitted.latent.distance(outputs["mean"])


def _typicality(outputs: Outputs, fitted: Fitted) -> F32:
    assert fitted.typical_score is not None
    distance: F32 = np.abs(outputs["score"] - np.float32(fitted.typical_score))
    return distance


FROM_STATISTICS: dict[str, Callable[[Outputs, Fitted], F32]] = {
    "mahalanobis": _mahalanobis,
    "typicality": _typicality,
}
"""Outputs of the graph ``score`` for n rows to (n,) float32: the heads computed from ``statistics``."""

FROM_P_VALUES = {"fisher": "fisher", "harmonic": "harmonic_mean", "ranks": "mean_rank"}
"""The heads computed from ``p_values``: functions of ``statistics.multiplicity``, p-values (n, parts) to (n,)."""


def with_parts(spec: ScoreSpec, heads: Sequence[str]) -> tuple[str, ...]:
    """``heads`` and those they are combined from, in the order of the bundle.

    Raises:
        OptionError: the bundle does not have one of them.
    """
    if unknown := set(heads) - set(spec.heads):
        raise OptionError(
            f"this bundle has no head {min(unknown)!r}; it has {', '.join(spec.heads)}: heads are chosen at export"
        )
    parts = spec.parts if any(HEADS[head].computed == "p_values" for head in heads) else ()
    return tuple(head for head in spec.heads if head in heads or head in parts)


def outputs_for(spec: ScoreSpec, heads: Sequence[str]) -> tuple[str, ...]:
    """Outputs of the graph ``score`` that ``heads`` need, ``score`` first."""
    own = [head for head in heads if HEADS[head].computed == "score" and head != spec.heads[0]]
    codes = ("mean",) if any(HEADS[head].reads_codes for head in heads) else ()
    return ("score", *own, *codes)


def head_scores(spec: ScoreSpec, heads: Sequence[str], outputs: Outputs, fitted: Fitted) -> dict[str, F32]:
    """Score of n rows by each of ``heads`` (parts before ensembles, as ``with_parts`` orders them): (n,) float32."""
    scores: dict[str, F32] = {}
    ordered = heads if len(heads) == 1 else sorted(heads, key=lambda head: HEADS[head].computed == "p_values")
    for head in ordered:
        if head == spec.heads[0]:
            scores[head] = outputs["score"]
        elif HEADS[head].computed == "statistics":
            with np.errstate(over="ignore", invalid="ignore"):  # a distance that float32 cannot hold is infinite
                scores[head] = FROM_STATISTICS[head](outputs, fitted)
        elif HEADS[head].computed == "p_values":
            scores[head] = combine(head, [fitted.sketches[part].p_values(scores[part]) for part in spec.parts])
        else:
            scores[head] = outputs[head]
    return scores


def combine(head: str, p_values: Sequence[NDArray[np.float64]]) -> F32:
    """Score of an ensemble from the p-values (n,) of its parts: larger is less normal, (n,) float32."""
    from ..statistics import multiplicity  # not at the top: few bundles have ensembles

    function: Callable[[NDArray[np.float64]], NDArray[np.float64]] = getattr(multiplicity, FROM_P_VALUES[head])
    return function(np.stack(p_values, axis=1)).astype(np.float32)


def posterior_noise(spec: ScoreSpec, latent: LatentSpec, n: int) -> F32:
    """The draws that every row is decoded with, (n, draws, *latent_shape): the same for each, so that a
    row's score depends on nothing beside it. Philox, seed 0, stream 2. A view without memory of its own.
    """
    shape = (1, spec.draws, *latent.shape)
    noise = standard_normal(element_count(shape), seed=_NOISE_SEED, stream=_NOISE_STREAM).reshape(shape)
    return np.broadcast_to(noise, (n, *shape[1:]))
