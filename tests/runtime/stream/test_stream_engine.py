"""Streams from rows to events."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_session import (
    ALARM,
    CALIBRATION_ROWS,
    FEATURES,
    GUARD,
    LENGTH,
    FakeSession,
    decisions,
    quiet,
)
from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime import InputError, OptionError, Scores, ScoreSketch
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.statistics.conformal import correlation_rows
from vae_edge_runtime.stream import Rows, open_stream


def test_one_decision_per_window_with_the_score_of_that_window() -> None:
    vae, x = FakeSession(), quiet(95)
    events = decisions(open_stream(vae, x))
    assert [e.index for e in events] == [9, 19, 29, 39, 49, 59, 69, 79, 89]
    exact = np.square(x[:90].reshape(9, -1)).mean(1)
    np.testing.assert_allclose([e.score for e in events], exact, rtol=1e-6)
    assert {e.status for e in events} == {"ok"}
    assert [e.p_value for e in events] == vae.sketch.p_values(exact.astype(np.float32)).tolist()


@given(st.integers(1, 14), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 7))
def test_decisions_do_not_depend_on_how_the_stream_is_cut(stride: int, blocks: list[int], batch: int) -> None:
    x = quiet(sum(blocks), seed=stride)
    x[sum(blocks) // 2, 1] = np.nan
    edges = np.cumsum([0, *blocks])
    source = [Rows(x[a:b], np.arange(a, b) * 0.01) for a, b in itertools.pairwise(edges)]
    found = decisions(open_stream(FakeSession(), source, stride=stride, batch=batch))
    one_by_one = decisions(open_stream(FakeSession(), ((i * 0.01, row) for i, row in enumerate(x)), stride=stride))
    assert [e.to_dict() for e in found] == [e.to_dict() for e in one_by_one]
    assert [e.index for e in found] == list(range(LENGTH - 1, len(x), stride))


def test_a_nan_is_a_fault_of_its_windows_and_changes_nothing_beside_them() -> None:
    x = quiet(200)
    clean = decisions(open_stream(FakeSession(), x, stride=5))
    x[57, 2] = np.nan
    found = decisions(open_stream(FakeSession(), x, stride=5))
    for before, after in zip(clean, found, strict=True):
        if after.index - LENGTH < 57 <= after.index:
            assert (after.status, after.score, after.is_anomaly, after.p_value) == ("invalid_input", None, None, None)
            assert (after.faults, after.fault_features) == (("non_finite",), ("c",))
        else:
            assert after.to_dict() == before.to_dict()
    assert sum(e.status == "invalid_input" for e in found) == 2


def test_an_anomaly_names_the_features_that_count_and_can_show_its_map() -> None:
    x = quiet(100)
    x[50:60, 1] += 3.0
    x[50:60, 2] -= 1.0
    events = decisions(open_stream(FakeSession(), x.clip(-7, 7), maps="anomalies", top=2))
    (anomaly,) = [e for e in events if e.is_anomaly]
    assert anomaly.index == 59
    assert [name for name, _ in anomaly.top] == ["b", "c"]
    exact = np.square(x[50:60].clip(-7, 7)).sum(0)
    assert anomaly.top[0][1] == pytest.approx(exact[1] / exact.sum(), rel=1e-5)
    assert anomaly.map is not None
    np.testing.assert_allclose(anomaly.map, np.square(x[50:60].clip(-7, 7)), rtol=1e-5)
    assert all(e.map is None for e in events if not e.is_anomaly)


def test_alarms_follow_the_rules_of_the_bundle_unless_others_are_given() -> None:
    x = quiet(100)
    x[30:60] *= 3
    vae = FakeSession(guard=dataclasses.replace(GUARD, margin=9.0))
    states = [e.alarm for e in decisions(open_stream(vae, x))]
    assert states == ["off", "off", "off", "raised", "on", "on", "cleared", "off", "off", "off"]
    rules = AlarmSpec(2, 3, 2, 0.001, 0)
    stream = open_stream(vae, x, alarm=rules)
    assert [e.alarm for e in decisions(stream)][4:8] == ["raised", "on", "on", "cleared"]
    assert stream.counters["alarms"] == 1
    assert stream.counters["anomalies"] == 3


def test_rows_of_a_table_model_are_one_decision_each() -> None:
    vae = FakeSession(length=0)
    events = decisions(open_stream(vae, quiet(30)))
    assert [e.index for e in events] == list(range(30))
    with pytest.raises(OptionError, match="stride"):
        open_stream(vae, [], stride=2)


def test_missing_cells_are_a_gap_and_can_be_filled_in_by_the_model() -> None:
    x = quiet(40).tolist()
    x[12][1] = None  # an empty cell of a file
    found = decisions(open_stream(FakeSession(), x))
    assert found[1].faults == ("gap",)
    assert found[1].fault_features == ("b",)
    filled = decisions(open_stream(FakeSession(), x, impute="auto"))
    assert (filled[1].status, filled[1].imputed) == ("ok", 1)
    window = np.array([[np.nan if c is None else c for c in row] for row in x[10:20]], np.float32)
    window[2, 1] = 0.25  # what the model reconstructs
    assert filled[1].score == pytest.approx(np.square(window).mean(), rel=1e-6)
    assert [e.to_dict() for i, e in enumerate(filled) if i != 1] == [e.to_dict() for i, e in enumerate(found) if i != 1]


def test_too_many_missing_cells_or_another_fault_are_not_filled_in() -> None:
    x = quiet(30).tolist()
    for i in range(7):
        x[i][0] = None  # 7 of 30 cells
    x[12][1], x[14][1] = None, float("nan")
    found = decisions(open_stream(FakeSession(), x, impute="auto"))
    assert [e.status for e in found] == ["invalid_input", "invalid_input", "ok"]
    assert found[1].faults == ("non_finite", "gap")


def test_a_gap_in_time_is_not_filled_in() -> None:
    times = np.arange(20) * 0.01
    times[15:] += 1.0
    empty = np.zeros((20, FEATURES), dtype=bool)
    empty[15] = True  # nor where the whole row behind it is empty, so that no cell of it shows the step
    for missing in (None, empty):
        (_, second) = decisions(open_stream(FakeSession(), [Rows(quiet(20), times, (), missing)], impute="auto"))
        assert (second.status, second.faults, second.imputed) == ("invalid_input", ("gap",), 0)


def test_silence_is_said_once_by_the_clock_that_was_given() -> None:
    now = iter([0.0, 0.0, 0.0, 1.0, 2.5, 4.0, 5.0, 9.0])
    source = [*quiet(2), None, None, None, quiet(1)[0], None]
    events = list(open_stream(FakeSession(), source, stale_s=2.0, clock=lambda: next(now)))
    (stale,) = [e for e in events if e.index == 1]
    assert stale.kind == "stale"
    assert stale.figures["silence_s"] == pytest.approx(2.5)
    assert len(events) == 2
    assert events[1].index == 2  # after one more row, silent again


def test_a_source_that_gives_blocks_without_rows_is_silent() -> None:
    now = iter([0.0, 0.0, 1.0, 2.5])
    source = [quiet(1)[0], Rows(quiet(0)), Rows(quiet(0))]
    (stale,) = open_stream(FakeSession(), source, stale_s=2.0, clock=lambda: next(now))
    assert (stale.kind, stale.figures["silence_s"]) == ("stale", 2.5)


def test_drift_is_an_event_with_figures_and_changes_no_threshold() -> None:
    vae = FakeSession()
    x = np.concatenate([quiet(6_000), quiet(9_000, seed=1) * 1.15])
    stream = open_stream(vae, [Rows(x)])
    events = list(stream)
    drifts = [e for e in events if e.kind == "drift"]
    assert drifts
    assert drifts[0].index > 6_000
    assert drifts[0].figures["direction"] == "scores became larger"
    assert stream.counters["drifts"] == len(drifts)
    assert vae.threshold == vae.sketch.threshold(0.001)
    assert not [e for e in open_stream(vae, [Rows(x)], drift=False) if e.kind == "drift"]
    assert CALIBRATION_ROWS == 2000


def test_scores_that_follow_slow_cycles_are_no_drift() -> None:
    cycle = 1 + 0.3 * np.sin(2 * np.pi * np.arange(60_000) / 4_000)[:, None]
    x = (quiet(60_000) * cycle).astype(np.float32).clip(-3.9, 3.9)
    vae = FakeSession()
    scores = vae._score(x[:20_000].reshape(2000, LENGTH, FEATURES))
    vae.sketch = ScoreSketch.fit(scores)
    blind = open_stream(vae, [Rows(x)])
    assert any(e.kind == "drift" for e in blind)  # neighbours are taken for independent draws
    vae.correlate(correlation_rows(scores))
    assert not [e for e in open_stream(vae, [Rows(x)]) if e.kind == "drift"]
    shifted = [Rows(x), Rows((x * 1.6).clip(-7, 7))]
    found = [e for e in open_stream(vae, shifted) if e.kind == "drift"]
    assert found[0].index > 60_000


def test_a_live_source_that_is_faster_loses_its_oldest_rows_and_counts_them() -> None:
    scoring, filled, x = threading.Event(), threading.Event(), quiet(300)

    class Slow(FakeSession):
        def score(self, *arguments: Any, **options: Any) -> Scores:
            scoring.set()
            filled.wait(10)
            return super().score(*arguments, **options)

    def source() -> Iterator[np.ndarray | Rows]:
        yield from x[:LENGTH]
        scoring.wait(10)
        yield from x[LENGTH:200]
        yield Rows(x[:0])  # hides no loss
        yield from x[200:]
        filled.set()

    stream = open_stream(Slow(), source(), live=True, queue_rows=100)
    events = list(stream)
    assert (stream.counters["rows"], stream.counters["dropped"]) == (LENGTH + 100, 190)
    assert events[-1].dropped == 190
    # The window that would have joined rows that were not neighbours, and only that one, has a gap.
    assert [e.faults for e in events if e.kind == "decision"] == [(), ("gap",), *[()] * 9]


def test_closing_a_live_stream_ends_its_thread_and_closes_the_source() -> None:
    class Source:
        closed = False

        def __iter__(self) -> Iterator[np.ndarray | None]:
            while not self.closed:
                time.sleep(0.01)
                yield quiet(1)[0]

        def close(self) -> None:
            self.closed = True

    source, before = Source(), threading.active_count()
    with open_stream(FakeSession(), source, live=True) as stream:
        next(iter(stream))
    stream.close()
    assert source.closed
    assert threading.active_count() == before


def test_what_the_source_raises_comes_out_of_the_stream() -> None:
    def source() -> Iterator[np.ndarray]:
        yield from quiet(10)
        raise RuntimeError("the sensor is unplugged")

    for live in (False, True):
        with pytest.raises(RuntimeError, match="unplugged"), open_stream(FakeSession(), source(), live=live) as stream:
            list(stream)


def test_a_live_source_may_write_every_row_into_the_same_array() -> None:
    def source() -> Iterator[np.ndarray]:
        row = np.empty(FEATURES, np.float32)
        for values in quiet(40):
            row[:] = values
            yield row

    at_once, live = (decisions(open_stream(FakeSession(), source(), live=live)) for live in (False, True))
    assert len(live) == 4
    assert [e.to_dict() for e in live] == [e.to_dict() for e in at_once]


def test_a_live_generator_is_closed_behind_the_row_it_was_waiting_for() -> None:
    asked, sent, closed = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[np.ndarray]:
        try:
            yield from quiet(LENGTH)
            asked.set()
            sent.wait(10)
            yield quiet(1)[0]
        finally:
            closed.set()

    stream = open_stream(FakeSession(), source(), live=True)
    assert next(iter(stream)).index == LENGTH - 1
    assert asked.wait(10)
    stream.close()
    assert not closed.is_set()
    sent.set()
    assert closed.wait(10)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1.0, 2.0], r"row 3 of the stream has 2 columns; the model takes 3 \(a, b, c\)"),
        (np.zeros((4, 1), np.float32), r"row 3 of the stream has shape \[4, 1\]; the model takes \[3\]"),
        (np.array(["a", "b", "c"]), "row 3 of the stream is <U1"),
        (["a", "b", "c"], r"row 3 of the stream is no row of numbers: .*'a' \(a, b, c\)"),
        ([10**400, 0, 0], "row 3 of the stream is no row of numbers"),
        ([[1], 2, 3], "row 3 of the stream is no row of numbers"),
        ({"a": 1, "b": 2, "c": 3}, "row 3 of the stream is no row of numbers"),
        (5, "row 3 of the stream is no row of numbers"),
        (("12:00", quiet(1)[0]), "a time is <U5 at row 3 of the stream; pass seconds"),
        ((np.datetime64("2026-01-31"), quiet(1)[0]), r"a time is datetime64\[D\] at row 3"),
        ((datetime.datetime(2026, 1, 31), quiet(1)[0]), "a time is object at row 3"),
        (Rows(quiet(2), np.zeros((2, 1))), r"times of shape \(2, 1\) for 2 rows at row 3"),
        (Rows(quiet(2), np.zeros(3)), r"times of shape \(3,\) for 2 rows at row 3"),
        (Rows(quiet(2), None, ("noon",)), "1 label for 2 rows at row 3"),
        (Rows(quiet(2), None, (), np.zeros(2, bool)), r"missing is bool \(2,\) at row 3 .* rows' \(2, 3\)"),
        (Rows(quiet(2), None, (), np.zeros((2, 3), int)), "missing is int64"),  # type: ignore[arg-type]
    ],
)
def test_a_row_that_does_not_fit_is_named(row: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        list(open_stream(FakeSession(), [*quiet(3), row]))


def test_labels_and_times_may_be_any_sequence() -> None:
    x = quiet(20)
    for labels, times in (([f"t{i}" for i in range(20)], range(20)), (np.arange(20).astype(str), np.arange(20))):
        blocks = [Rows(x[i : i + 7], times[i : i + 7], labels[i : i + 7]) for i in (0, 7, 14)]  # type: ignore[arg-type]
        vae = FakeSession(guard=dataclasses.replace(GUARD, period_s=1.0))
        assert [e.time for e in decisions(open_stream(vae, blocks))] == [labels[9], labels[19]]


def test_options_out_of_range_are_refused() -> None:
    vae = FakeSession()
    for options in ({"stride": 0}, {"queue_rows": 0}, {"top": -1}, {"stale_s": 0.0}, {"impute": "yes"}, {"maps": "x"}):
        with pytest.raises(OptionError):
            open_stream(vae, [], **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="windows only"):
        open_stream(FakeSession(length=0), [], impute="auto")
    vae.manifest.stream = None
    with pytest.raises(OptionError, match="no rules for streams"):
        open_stream(vae, [])
    assert list(open_stream(vae, [], guard=GUARD, alarm=ALARM)) == []


def test_events_are_json_without_nan() -> None:
    x = quiet(40)
    x[15, 0] = np.nan
    x[25:30] = 3.8
    for event in open_stream(FakeSession(), [Rows(x, np.arange(40) * 0.01)]):
        plain = json.loads(json.dumps(event.to_dict(), allow_nan=False))
        assert plain["index"] == event.index
        assert plain["time"] == pytest.approx(event.index * 0.01)


def test_memory_does_not_grow_with_the_stream() -> None:
    block = Rows(quiet(1000))

    def peak(blocks: int) -> int:
        tracemalloc.start()
        for _ in open_stream(FakeSession(), (block for _ in range(blocks)), stride=5):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(60) < 1.1 * peak(6) + 20_000
    assert FEATURES == 3
