"""The scores of a row by every head, from what the graphs computed: one definition for export and device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..format.specs import ENSEMBLE_HEADS, LatentSpec, ScoreSpec, element_count
from ..record import record
from ..sampling.noise import standard_normal
from ..statistics.conformal import ScoreSketch
from ..statistics.mahalanobis import LatentStatistics
from ..statistics.multiplicity import fisher, harmonic_mean, mean_rank

F32 = NDArray[np.float32]
Outputs = Mapping[str, NDArray[Any]]

_NOISE_SEED, _NOISE_STREAM = 0, 2
_COMBINE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "fisher": fisher,
    "harmonic": harmonic_mean,
    "ranks": mean_rank,
}


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


def with_parts(spec: ScoreSpec, heads: Sequence[str]) -> tuple[str, ...]:
    """``heads`` and those they are combined from, in the order of the bundle.

    Raises:
        OptionError: the bundle does not have one of them.
    """
    if unknown := set(heads) - set(spec.heads):
        raise OptionError(
            f"this bundle has no head {min(unknown)!r}; it has {', '.join(spec.heads)}: heads are chosen at export"
        )
    parts = spec.parts if set(heads) & set(ENSEMBLE_HEADS) else ()
    return tuple(head for head in spec.heads if head in heads or head in parts)


def outputs_for(spec: ScoreSpec, heads: Sequence[str]) -> tuple[str, ...]:
    """Outputs of the graph ``score`` that ``heads`` need, ``score`` first."""
    own = [head for head in heads if head in (*spec.fused, "reconstruction", "kl") and head != spec.heads[0]]
    return ("score", *own, *(["mean"] if "mahalanobis" in heads else []))


def head_scores(spec: ScoreSpec, heads: Sequence[str], outputs: Outputs, fitted: Fitted) -> dict[str, F32]:
    """Score of n rows by each of ``heads`` (parts before ensembles, as ``with_parts`` orders them): (n,) float32."""
    found: dict[str, F32] = {}
    for head in sorted(heads, key=lambda head: head in ENSEMBLE_HEADS):
        if head == spec.heads[0]:
            found[head] = outputs["score"]
        elif head == "mahalanobis" and fitted.latent is not None:
            found[head] = fitted.latent.distance(outputs["mean"])
        elif head == "typicality" and fitted.typical_score is not None:
            found[head] = np.abs(outputs["score"] - np.float32(fitted.typical_score))
        elif head in _COMBINE:
            found[head] = combine(head, [fitted.sketches[part].p_values(found[part]) for part in spec.parts])
        else:
            found[head] = outputs[head]
    return found


def combine(head: str, p_values: Sequence[NDArray[np.float64]]) -> F32:
    """Score of an ensemble from the p-values (n,) of its parts: larger is less normal, (n,) float32."""
    return _COMBINE[head](np.stack(p_values, axis=1)).astype(np.float32)


def posterior_noise(spec: ScoreSpec, latent: LatentSpec, n: int) -> F32:
    """The draws that every row is decoded with, (n, draws, *latent_shape): the same for each, so that a
    row's score depends on nothing beside it. Philox, seed 0, stream 2. A view without memory of its own.
    """
    shape = (1, spec.draws, *latent.shape)
    noise = standard_normal(element_count(shape), seed=_NOISE_SEED, stream=_NOISE_STREAM).reshape(shape)
    return np.broadcast_to(noise, (n, *shape[1:]))
