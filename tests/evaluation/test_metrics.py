from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.evaluation.metrics import binomial_interval, bootstrap, decisions, ranking
from vae_edge_runtime import InputError, OptionError

pytest.importorskip("sklearn")


def test_figures_of_five_rows_by_hand() -> None:
    # Descending: 5 anomaly, 4 normal, 3 anomaly, 2 normal, 1 normal.
    found = ranking([5, 4, 3, 2, 1], [1, 0, 1, 0, 0])
    assert found.auroc == pytest.approx(5 / 6)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.fpr_at_95_tpr == pytest.approx(1 / 3)


def test_ties_count_half() -> None:
    found = ranking([1, 1, 1, 1], [0, 1, 0, 1])
    assert (found.auroc, found.average_precision, found.fpr_at_95_tpr) == (0.5, 0.5, 1.0)


def test_inverted_scores_have_auroc_zero() -> None:
    assert ranking([1, 2, 3, 4], [1, 1, 0, 0]).auroc == 0.0


def test_nineteen_of_twenty_anomalies_are_95_percent() -> None:
    scores = [*range(10, 29), 0.0, *([5.0] * 4)]
    assert ranking(scores, [1] * 20 + [0] * 4).fpr_at_95_tpr == 0.0


labelled = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(labelled)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    anomalous, normal = [s for s, y in rows if y], [s for s, y in rows if not y]
    pairs = [(a > b) + (a == b) / 2 for a in anomalous for b in normal]
    found = ranking(*zip(*rows, strict=True))
    assert found.auroc == pytest.approx(sum(pairs) / len(pairs))


@given(labelled)
def test_average_precision_is_the_sum_over_thresholds(rows: list[tuple[int, bool]]) -> None:
    total, before, area = sum(y for _, y in rows), 0.0, 0.0
    for threshold in sorted({s for s, _ in rows}, reverse=True):
        flagged = [y for s, y in rows if s >= threshold]
        recall = sum(flagged) / total
        area += (recall - before) * sum(flagged) / len(flagged)
        before = recall
    assert ranking(*zip(*rows, strict=True)).average_precision == pytest.approx(area)


@given(labelled)
def test_fpr_at_95_tpr_is_the_least_among_all_thresholds(rows: list[tuple[int, bool]]) -> None:
    anomalous, normal = [s for s, y in rows if y], [s for s, y in rows if not y]
    enough = [t for t in {s for s, _ in rows} if sum(s >= t for s in anomalous) >= 0.95 * len(anomalous)]
    least = min(sum(s >= t for s in normal) / len(normal) for t in enough)
    assert ranking(*zip(*rows, strict=True)).fpr_at_95_tpr == pytest.approx(least)


def test_decisions_give_the_rates_of_a_confusion_matrix() -> None:
    found = decisions([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert (found.true_positives, found.false_positives, found.false_negatives, found.true_negatives) == (2, 1, 1, 3)
    assert (found.precision, found.recall, found.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert found.false_positive_rate == 0.25


def test_without_a_flagged_row_precision_is_undefined_and_f1_zero() -> None:
    found = decisions([0, 0], [1, 0])
    assert math.isnan(found.precision)
    assert (found.recall, found.f1, found.false_positive_rate) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        ([1, 2], [0, 0], "no anomalous"),
        ([1, 2], [1, 1], "no normal"),
        ([1, 2], [0, 1, 1], "one label per row"),
        ([1, 2], [0, 2], "other values than 0"),
        ([1, float("nan")], [0, 1], "1 scores are NaN"),
        ([1, float("inf")], [0, 1], "infinite"),
        ([[1, 2]], [[0, 1]], "one number per row"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: list[float], labels: list[int], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        ranking(scores, labels)
    with pytest.raises(InputError, match=problem):
        bootstrap(scores, labels, repeats=100, seed=0)


def test_the_exact_interval_of_no_false_alarm_in_a_hundred_reaches_3_6_percent() -> None:
    # Solves (1 - p)^100 = 0.025.
    assert binomial_interval(0, 100) == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    scores, labels = np.arange(40) % 7, np.arange(40) % 2
    first = bootstrap(scores, labels, repeats=200, seed=1)
    assert first == bootstrap(scores, labels, repeats=200, seed=1)
    assert first != bootstrap(scores, labels, repeats=200, seed=2)


def test_the_interval_of_separated_classes_is_one_point() -> None:
    found = bootstrap([1, 2, 3, 4], [0, 0, 1, 1], repeats=100, seed=0)
    assert (found.auroc, found.average_precision) == ((1.0, 1.0), (1.0, 1.0))


@given(labelled, st.integers(0, 2**31))
def test_an_interval_lies_inside_zero_and_one(rows: list[tuple[int, bool]], seed: int) -> None:
    found = bootstrap(*zip(*rows, strict=True), repeats=100, seed=seed)
    for low, high in (found.auroc, found.average_precision):
        assert 0 <= low <= high <= 1


def test_the_median_of_resamples_is_near_the_figure_itself() -> None:
    # Counts per distinct score give what scikit-learn gives: a narrow interval must hold its figure.
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [4000, 1000])
    scores = np.round(rng.normal(size=5000) + labels, 1)
    found, exact = bootstrap(scores, labels, repeats=100, seed=0), ranking(scores, labels)
    for (low, high), value in ((found.auroc, exact.auroc), (found.average_precision, exact.average_precision)):
        assert low < value < high
        assert high - low < 0.06


def test_nine_of_ten_95_percent_intervals_at_least_hold_the_true_auroc() -> None:
    # Two normals one standard deviation apart: AUROC = Phi(1 / sqrt 2).
    truth = 0.5 * (1 + math.erf(0.5))
    rng = np.random.default_rng(11)
    labels = np.repeat([0, 1], 40)
    covered = 0
    for seed in range(100):
        low, high = bootstrap(rng.normal(size=80) + labels, labels, repeats=200, seed=seed).auroc
        covered += low <= truth <= high
    assert 90 <= covered <= 100


@pytest.mark.parametrize(("repeats", "seed", "problem"), [(99, 0, "at least 100"), (100, -1, "seed is -1")])
def test_a_bootstrap_that_says_nothing_is_refused(repeats: int, seed: int, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        bootstrap([1, 2], [0, 1], repeats=repeats, seed=seed)
