from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from labelled_session import THRESHOLDS, FakeVAE, labelled_rows

from vae_edge.evaluation import Evaluation, evaluate, judge, score_rows
from vae_edge.evaluation.plot import figure_png
from vae_edge.evaluation.ranges import RangeOptions
from vae_edge.evaluation.scored import ROWS_AT_ONCE
from vae_edge_runtime import InputError, MissingDependency, OptionError
from vae_edge_runtime.format.specs import InputSpec

pytest.importorskip("sklearn")

IMAGE = InputSpec((2, 4, 4), "float32", "nchw", 0.0, 1.0, ())


def found(**options: object) -> Evaluation:
    x, labels = labelled_rows()
    return evaluate(FakeVAE(), x, labels, **{"bootstrap": 0, **options})  # type: ignore[arg-type, return-value]


def test_every_head_gets_its_own_threshold_and_promise() -> None:
    x, labels = labelled_rows()
    figures = found().figures
    assert [(f.head, f.threshold, f.promised_rate) for f in figures] == [("elbo", 2.0, 0.05), ("peak", 1.0, 0.1)]
    for column, f in enumerate(figures):
        normal, anomalous = x[labels == 0, column], x[labels == 1, column]
        assert (f.normal, f.anomalous) == (40, 20)
        assert f.ranking.auroc == pytest.approx((anomalous[:, None] > normal).mean())
        assert f.decisions is not None
        assert f.decisions.recall == pytest.approx((anomalous > THRESHOLDS[f.head]).mean())
        assert f.decisions.false_positive_rate == pytest.approx((normal > THRESHOLDS[f.head]).mean())


def test_heads_can_be_chosen_and_an_interval_holds_its_figure() -> None:
    (f,) = found(heads=("peak", "peak"), bootstrap=200, seed=3).figures
    assert f.head == "peak"
    assert f.intervals is not None
    assert f.intervals.auroc[0] < f.ranking.auroc < f.intervals.auroc[1]
    assert f.intervals.average_precision[0] < f.ranking.average_precision < f.intervals.average_precision[1]


def test_each_class_is_judged_against_all_normal_rows() -> None:
    x, labels = labelled_rows()
    classes = np.array([""] * 40 + ["crack"] * 12 + ["leak"] * 8)
    figures = evaluate(FakeVAE(), x, labels, heads=("elbo",), classes=classes, bootstrap=0).figures
    assert [(f.anomaly_class, f.normal, f.anomalous) for f in figures] == [
        (None, 40, 20), ("crack", 40, 12), ("leak", 40, 8)
    ]  # fmt: skip
    assert figures[1].ranking.auroc == pytest.approx((x[40:52, :1] > x[:40, 0]).mean())
    hits = [f.decisions.true_positives for f in figures if f.decisions]
    assert hits[0] == hits[1] + hits[2]


def test_rows_without_a_score_are_counted_and_left_out() -> None:
    x, labels = labelled_rows()
    x[[0, 59], 0] = np.nan
    whole = evaluate(FakeVAE(), x, labels, bootstrap=0)
    part = evaluate(FakeVAE(), x[1:59], labels[1:59], bootstrap=0)
    assert (whole.rows, whole.not_scored) == (60, {"non_finite_input": 2})
    assert whole.warnings[0] == "2 of 60 rows were not scored (2 non_finite_input) and are left out"
    assert whole.figures == part.figures


def test_over_time_a_step_without_a_score_stays_in_place_as_not_flagged() -> None:
    x = np.zeros((9, 3), np.float32)
    x[3:6, 0] = 5
    x[4, 0] = np.nan
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0])
    r = evaluate(FakeVAE(), x, labels, heads=("elbo",), ranges=RangeOptions(), bootstrap=0).ranges["elbo"]
    assert (r.steps, r.not_scored, r.events, r.alarms) == (9, 1, 1, 2)
    assert r.point_wise.recall == pytest.approx(2 / 3)
    assert r.range_based.recall == pytest.approx(1 / 3)


def test_point_adjusted_figures_come_with_their_warning_and_never_without_ranges() -> None:
    assert any("flatters" in w for w in found(ranges=RangeOptions()).warnings)
    plain = found()
    assert plain.ranges == {}
    assert not any("flatters" in w for w in plain.warnings)


def test_more_false_alarms_than_promised_are_pointed_out() -> None:
    x, labels = labelled_rows()
    x[:10, 0] = 3
    warnings = evaluate(FakeVAE(), x, labels, heads=("elbo",), bootstrap=0).warnings
    rate = (x[:40, 0] > 2).mean()
    assert [w.partition(" of the")[0] for w in warnings] == [f"elbo: {rate:.3g}"]
    assert "0.05 was promised" in warnings[0]


def test_masks_judge_the_maps_with_their_channels_summed() -> None:
    masks = np.zeros((6, 4, 4), np.uint8)
    masks[4:, 1:3, 1:3] = 1
    x = np.random.default_rng(0).random((6, 2, 4, 4), dtype=np.float32)
    x[:, 1] += 2 * masks
    labels = np.repeat([0, 1], [4, 2])
    pixels = evaluate(FakeVAE(IMAGE), x, labels, masks=masks, bootstrap=0).pixels
    assert pixels is not None
    assert (pixels.auroc, pixels.pro, pixels.regions) == (1.0, pytest.approx(1.0), 2)
    assert pixels.share == pytest.approx(8 / 96)


def test_a_mask_on_a_normal_row_is_refused() -> None:
    x = np.random.default_rng(0).random((2, 2, 4, 4), dtype=np.float32)
    with pytest.raises(InputError, match="row 0 is labelled normal"):
        evaluate(FakeVAE(IMAGE), x, [0, 1], masks=np.ones((2, 4, 4)), bootstrap=0)


def test_masks_for_rows_that_are_no_images_are_refused_before_scoring() -> None:
    vae = FakeVAE()
    x, labels = labelled_rows()
    with pytest.raises(OptionError, match="'features'"):
        evaluate(vae, x, labels, masks=np.zeros((60, 1, 1)))  # type: ignore[arg-type]
    assert vae.calls == []


def test_large_arrays_are_scored_in_pieces_and_progress_counts_them() -> None:
    vae, done = FakeVAE(), []
    x = np.random.default_rng(0).normal(size=(2 * ROWS_AT_ONCE + 5, 3)).astype(np.float32)
    scored = score_rows(vae, x, progress=done.append)  # type: ignore[arg-type]
    assert vae.calls == done == [ROWS_AT_ONCE, ROWS_AT_ONCE, 5]
    np.testing.assert_array_equal(scored.heads["peak"].score, x[:, 1].astype(np.float64))


@pytest.mark.parametrize(
    ("labels", "options", "problem"),
    [
        (np.zeros(60), {}, "no anomalous"),
        (np.zeros(3), {}, "one label per row"),
        (np.repeat([0, 1], 30), {"classes": ["a"]}, "pass one per row"),
        (np.repeat([0, 1], 30), {"classes": [""] * 60}, "has no class"),
    ],
)
def test_labels_and_classes_that_do_not_fit_are_refused(
    labels: np.ndarray, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        evaluate(FakeVAE(), labelled_rows()[0], labels, bootstrap=0, **options)  # type: ignore[arg-type]


def test_a_class_of_which_nothing_was_scored_is_named() -> None:
    x, labels = labelled_rows()
    x[40] = np.nan
    with pytest.raises(InputError, match="no anomaly of class 'leak' was scored"):
        evaluate(FakeVAE(), x, labels, classes=["leak"] * 41 + ["crack"] * 19, bootstrap=0)  # type: ignore[arg-type]


def test_a_bundle_without_calibration_is_ranked_and_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for head in THRESHOLDS:
        monkeypatch.setitem(THRESHOLDS, head, None)  # type: ignore[arg-type]
    vae = FakeVAE()
    vae.calibrations = {}
    x, labels = labelled_rows()
    report = evaluate(vae, x, labels, ranges=RangeOptions(), bootstrap=0)  # type: ignore[arg-type]
    assert [f.decisions for f in report.figures] == [None, None]
    assert report.ranges == {}
    assert report.warnings == ("no threshold for elbo, peak: the bundle carries no calibration of it",)


def test_the_dict_is_json_with_the_derived_figures() -> None:
    report = found(bootstrap=100, ranges=RangeOptions())
    plain = json.loads(json.dumps(report.to_dict()))
    first = plain["figures"][0]
    assert report.figures[0].decisions is not None
    assert first["decisions"]["f1"] == report.figures[0].decisions.f1
    assert first["ranking"]["auroc"] == report.figures[0].ranking.auroc
    assert plain["ranges"]["elbo"]["range_based"]["f1"] == report.ranges["elbo"].range_based.f1
    assert plain["ranges"]["elbo"]["event_recall"] == 1.0


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = labelled_rows()
    scored = score_rows(FakeVAE(), x)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingDependency, match=r'pip install "vae-edge\[evaluate\]"'):
        judge(scored, labels, bootstrap=0)


def test_the_plot_is_the_same_png_twice_and_has_a_histogram_per_head() -> None:
    pytest.importorskip("matplotlib")
    x, labels = labelled_rows()
    x[59, 0] = 1e6  # an outlier that would squash a linear histogram
    x[3, 1] = np.nan
    scored = score_rows(FakeVAE(), x)  # type: ignore[arg-type]
    picture = figure_png(scored, labels)
    assert picture.startswith(b"\x89PNG")
    assert picture == figure_png(scored, labels)
    height = int.from_bytes(picture[20:24], "big")
    one = figure_png(score_rows(FakeVAE(), x, heads=("elbo",)), labels)  # type: ignore[arg-type]
    assert height == int.from_bytes(one[20:24], "big") == 816
