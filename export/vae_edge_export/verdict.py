"""The verdict gate: final scores and decisions of the artefact against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import InputError, VerdictFailed
from vae_edge_runtime.format.manifest import Verdict

from .config import ExportConfig

Scores = NDArray[np.float32]


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties given their mean rank, (n,) float64."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's rho: Pearson's correlation of the ranks; 1 where both are constant."""
    ra, rb = ranks(a), ranks(b)
    ra, rb = ra - ra.mean(), rb - rb.mean()
    size = float(np.sqrt((ra * ra).sum() * (rb * rb).sum()))
    if size == 0:
        return 1.0 if bool((ra == 0).all() and (rb == 0).all()) else 0.0
    return float((ra * rb).sum() / size)


def auroc(scores: NDArray[Any], is_anomaly: NDArray[np.bool_]) -> float:
    """Probability that an anomaly scores above a normal row, ties count half (Mann & Whitney 1947).

    Raises:
        InputError: one of the two classes is empty.
    """
    positives = int(is_anomaly.sum())
    negatives = len(scores) - positives
    if positives == 0 or negatives == 0:
        raise InputError("evaluation labels need both normal (0) and anomalous (1) rows")
    rank_sum = float(ranks(scores)[is_anomaly].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def measure_verdict(
    artefact: Scores,
    torch_scores: Scores,
    labels: NDArray[np.bool_] | None,
    *,
    thresholds: tuple[float, float],
) -> Verdict:
    """Two sets of scores of the same held-out rows, (n,) float32 each, compared.

    Score errors are relative to max(abs(score), rms of PyTorch's scores).

    Args:
        thresholds: of the artefact's scores, and of PyTorch's.
    """
    difference = np.abs(artefact.astype(np.float64) - torch_scores.astype(np.float64))
    size = np.maximum(np.abs(torch_scores), np.sqrt(np.mean(np.square(torch_scores, dtype=np.float64))))
    relative = difference / np.where(size > 0, size, 1.0)
    return Verdict(
        rows=len(artefact),
        score_error_max=float(relative.max()),
        score_error_p99=float(np.quantile(relative, 0.99)),
        rank_correlation=rank_correlation(artefact, torch_scores),
        flipped=int(((artefact > thresholds[0]) != (torch_scores > thresholds[1])).sum()),
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
) -> Verdict:
    """Measure, and hold the gate of fp32.

    Raises:
        VerdictFailed: a limit of the gate is missed; ``report`` holds the figures.
    """
    verdict = measure_verdict(artefact, torch_scores, labels, thresholds=(threshold, threshold))
    problems = []
    if not verdict.rank_correlation >= config.min_rank_correlation:
        problems.append(f"rank correlation {verdict.rank_correlation:.6f}, at least {config.min_rank_correlation:g}")
    if not verdict.flipped <= config.max_flipped_fraction * verdict.rows:
        problems.append(
            f"{verdict.flipped} of {verdict.rows} decisions flipped, at most {config.max_flipped_fraction:.2%}"
        )
    if verdict.auroc is not None and verdict.auroc_torch is not None:
        change = abs(verdict.auroc - verdict.auroc_torch)
        if not change <= config.max_auroc_change:
            problems.append(f"AUROC changed by {change:.5f}, at most {config.max_auroc_change:g}")
    if problems:
        raise VerdictFailed(
            f"{what} decides differently: " + "; ".join(problems) + ". Nothing was written", report=verdict
        )
    return verdict
