"""When the decision of a row counts as flipped."""

from __future__ import annotations

import numpy as np
import pytest

from vae_edge_export.checks.verdict import SAME_SCORE, measure_verdict

THRESHOLD = np.float32(7.25)


def _flips(ours: np.float32, theirs: np.float32) -> int:
    """Flipped decisions of 20 rows, of which only the last may differ."""
    rows = np.linspace(1.0, 7.0, 19).astype(np.float32)
    bound = float(THRESHOLD)
    artefact, torch_scores = np.append(rows, ours), np.append(rows, theirs)
    return measure_verdict(artefact, torch_scores, None, thresholds=(bound, bound)).flipped


@pytest.mark.parametrize("ulps", [1, 4, 16])
def test_the_row_that_set_the_threshold_does_not_flip_at_its_last_bits(ulps: int) -> None:
    above = THRESHOLD
    for _ in range(ulps):
        above = np.nextafter(above, np.float32(np.inf))
    assert _flips(above, THRESHOLD) == 0
    assert _flips(THRESHOLD, above) == 0


@pytest.mark.parametrize("times", [2.0, 10.0, 1e4])
def test_scores_that_differ_by_more_than_rounding_flip(times: float) -> None:
    apart = np.float32(THRESHOLD * (1 + times * SAME_SCORE))
    assert _flips(apart, THRESHOLD) == 1
    assert _flips(THRESHOLD, apart) == 1
