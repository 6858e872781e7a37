"""What ``score`` gives back, and what it costs to ask often."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from tiny_bundle import TinyBundle

from vae_edge_runtime import load
from vae_edge_runtime.scoring import scorer


def test_the_text_of_scores_is_one_line_of_any_number_of_rows(tiny_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    rows[:2] = np.nan
    rows[2:5] = 50.0
    with load(tiny_path, device="cpu") as vae:
        scores = vae.score(rows)
        anomalies, threshold = int(scores.is_anomaly.sum()), scores.threshold
        assert repr(scores) == (
            f"<Scores of 3,000 rows by elbo: threshold {threshold:.6g}, {anomalies} anomalies; "
            "2998 ok, 2 non_finite_input>"
        )
        assert str(scores) == repr(scores)
        assert repr(vae.score(rows[:0])) == f"<Scores of 0 rows by elbo: threshold {threshold:.6g}, 0 anomalies>"
        head = scores.heads["elbo"]
        assert repr(head) == f"<HeadScores of 3,000 rows: threshold {threshold:.6g}, {anomalies} anomalies>"


def test_the_text_of_scores_without_a_calibration_says_so(tiny: TinyBundle) -> None:
    plain = tiny.plain
    plain["variants"]["fp32"]["calibration"] = None
    del plain["members"]["fp32/calibration.bin"], tiny.members["fp32/calibration.bin"]
    with load(tiny.write(plain), device="cpu") as vae:
        assert repr(vae.score(np.zeros((2, 4), np.float32))) == "<Scores of 2 rows by elbo: no threshold; 2 ok>"


def test_asking_for_heads_in_ever_other_ways_keeps_no_more_than_some_plans(tiny_path: Path) -> None:
    row = np.zeros((1, 4), np.float32)
    with load(tiny_path, device="cpu") as vae:
        expected = vae.score(row).score
        for repeats in range(300):
            asked = tuple(itertools.repeat("elbo", repeats))
            np.testing.assert_array_equal(vae.score(row, heads=asked).score, expected)
        assert 1 <= len(vae._scorer._plans) <= scorer.MAX_PLANS == 64
