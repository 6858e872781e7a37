"""The verdict gate: final scores and decisions of the artefact against PyTorch's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import VerdictFailed
from vae_edge_runtime.format.figures import Verdict
from vae_edge_runtime.text import counted

from ..agreement import auroc, rank_correlation
from ..config import ExportConfig
from .rounding import ILL_CONDITIONED, ROUNDING_ROOM

Scores = NDArray[np.float32]

SAME_SCORE = 1e-5
"""Two scores this close, relative to their size, are one score in float32: engines add up in different orders and
differ by up to 2e-6 (measured). Where the threshold lies between two such scores no decision has flipped."""


def measure_verdict(
    artefact: Scores,
    torch_scores: Scores,
    labels: NDArray[np.bool_] | None,
    *,
    thresholds: tuple[float, float],
    same_score: float = SAME_SCORE,
) -> Verdict:
    """Two sets of scores of the same held-out rows, (n,) float32 each, compared.

    Score errors are relative to max(abs(score), rms of PyTorch's scores). A decision has flipped where it differs
    and the scores differ by more than ``same_score``.

    Args:
        thresholds: of the artefact's scores, and of PyTorch's.
        same_score: relative difference that is rounding.
    """
    difference = np.abs(artefact.astype(np.float64) - torch_scores.astype(np.float64))
    size = np.maximum(np.abs(torch_scores), np.sqrt(np.mean(np.square(torch_scores, dtype=np.float64))))
    relative = difference / np.where(size > 0, size, 1.0)
    differs = (artefact > thresholds[0]) != (torch_scores > thresholds[1])
    return Verdict(
        rows=len(artefact),
        score_error_max=float(relative.max()),
        score_error_p99=float(np.quantile(relative, 0.99)),
        rank_correlation=rank_correlation(artefact, torch_scores),
        flipped=int((differs & (relative > same_score)).sum()),
        auroc=None if labels is None else auroc(artefact, labels),
        auroc_torch=None if labels is None else auroc(torch_scores, labels),
    )


def check_verdict(
    artefact: Scores,
    torch_scores: Scores,
    threshold: float,
    labels: NDArray[np.bool_] | None,
    config: ExportConfig,
    *,
    what: str = "the artefact",
    exact: Callable[[], NDArray[Any]] | None = None,
) -> Verdict:
    """Measure, and hold the gate of fp32. Scores that PyTorch's own float32 cannot hold are given 10 times its loss.

    Args:
        exact: gives PyTorch's scores in float64; asked only where the gate is missed.

    Raises:
        VerdictFailed: a limit of the gate is missed; ``report`` holds the figures.
    """
    thresholds = (threshold, threshold)
    verdict = measure_verdict(artefact, torch_scores, labels, thresholds=thresholds)
    problems = _missed(verdict, config)
    if problems and exact is not None:
        own = measure_verdict(torch_scores, exact(), labels, thresholds=thresholds)
        if ILL_CONDITIONED < own.score_error_max < math.inf:
            same = ROUNDING_ROOM * own.score_error_max
            verdict = measure_verdict(artefact, torch_scores, labels, thresholds=thresholds, same_score=same)
            least = min(config.min_rank_correlation, 1.0 - ROUNDING_ROOM * (1.0 - own.rank_correlation))
            problems = _missed(verdict, dataclasses.replace(config, min_rank_correlation=max(least, 0.0)))
    if problems:
        raise VerdictFailed(
            f"{what} decides differently: " + "; ".join(problems) + ". Nothing was written", report=verdict
        )
    return verdict


def _missed(verdict: Verdict, config: ExportConfig) -> list[str]:
    """In words, every limit that is missed."""
    problems = []
    if not verdict.rank_correlation >= config.min_rank_correlation:
        problems.append(f"rank correlation {verdict.rank_correlation:.6f}, at least {config.min_rank_correlation:g}")
    if not verdict.flipped <= config.max_flipped_fraction * verdict.rows:
        problems.append(
            f"{verdict.flipped} of {counted(verdict.rows, 'decision')} flipped, at most "
            f"{config.max_flipped_fraction:.2%}"
        )
    if verdict.auroc is not None and verdict.auroc_torch is not None:
        change = abs(verdict.auroc - verdict.auroc_torch)
        if not change <= config.max_auroc_change:
            problems.append(f"AUROC changed by {change:.5f}, at most {config.max_auroc_change:g}")
    return problems
