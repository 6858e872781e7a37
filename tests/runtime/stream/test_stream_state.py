"""A stream that goes on from its state decides as one that was never interrupted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fake_session import ALARM, FEATURES, GUARD, LENGTH, FakeSession, quiet

from vae_edge_runtime import InputError
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.stream import Rows, Stream, open_stream

ALARM_OF_MANY = AlarmSpec(2, 3, 2, 0.01, 3)


def rows_of_a_bad_day(n: int) -> Rows:
    """Rows with anomalies, a value that sticks, missing cells, a NaN and a gap in time."""
    values = quiet(n)
    values[40:75] *= 2.5
    values[90:100, 1] = 0.5
    values[110, 0] = np.nan
    missing = np.zeros((n, FEATURES), bool)
    missing[120, 2] = True
    time = np.arange(n) * 0.01 + (np.arange(n) >= 130)
    return Rows(values, time, tuple(f"row {i}" for i in range(n)), missing)


def part(rows: Rows, start: int, end: int | None = None) -> Rows:
    assert rows.time is not None
    assert rows.missing is not None
    cut = slice(start, end)
    return Rows(rows.values[cut], rows.time[cut], rows.labels[cut], rows.missing[cut])


def told(stream: Stream) -> list[dict[str, Any]]:
    return [event.to_dict() for event in stream]


def stopped_at(session: FakeSession, rows: Rows, at: int, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Events up to a row, and the state there as a file would hold it."""
    stream = open_stream(session, [part(rows, 0, at)], **options)
    states: list[str] = []
    stream.on_settled = lambda _last: states.append(json.dumps(stream.state(), allow_nan=False))
    return told(stream), states[-1]


@pytest.mark.parametrize("length", [0, LENGTH])
@pytest.mark.parametrize("stride", [1, 3, 17])
def test_a_stream_cut_at_every_row_says_what_the_whole_one_says(length: int, stride: int) -> None:
    if length == 0 and stride != 1:
        return
    session = FakeSession(length, rate=0.05, alarm=ALARM_OF_MANY)
    rows = rows_of_a_bad_day(160)
    options = {"stride": stride, "batch": 4}
    whole = told(open_stream(session, [rows], **options))
    assert {"raised", "on", "cleared"} <= {event.get("alarm") for event in whole} or stride == 17
    for at in range(1, 160):
        before, state = stopped_at(session, rows, at, **options)
        rest = open_stream(session, [part(rows, at)], **options)
        rest.restore(json.loads(state))
        assert before + told(rest) == whole


def test_drift_is_found_at_the_same_decision_over_restarts() -> None:
    session = FakeSession(0, rate=0.001)
    rows = Rows(quiet(3000) * np.linspace(1, 1.3, 3000, dtype=np.float32)[:, None])
    whole = [event for event in told(open_stream(session, [rows])) if event["kind"] == "drift"]
    assert whole
    state, drifts = None, []
    for start in range(0, 3000, 250):
        stream = open_stream(session, [Rows(rows.values[start : start + 250])])
        if state is not None:
            stream.restore(json.loads(state))
        drifts += [event for event in told(stream) if event["kind"] == "drift"]
        state = json.dumps(stream.state(), allow_nan=False)
    assert drifts == whole


def test_settled_is_called_before_each_block_and_behind_the_last() -> None:
    calls: list[tuple[bool, int]] = []
    stream = open_stream(FakeSession(0), [quiet(1)[0], None, quiet(1)[0]])
    stream.on_settled = lambda last: calls.append((last, stream.counters["decisions"]))
    assert len(told(stream)) == 2
    assert calls == [(False, 0), (False, 1), (False, 1), (False, 2), (True, 2)]


def test_an_alarm_that_is_on_outlives_a_restart_and_a_new_model_and_is_cleared() -> None:
    session, loud = FakeSession(0, rate=0.05), np.full((3, FEATURES), 3.5, np.float32)
    stream = open_stream(session, [Rows(loud)])
    assert [event["alarm"] for event in told(stream)] == ["raised", "on", "on"]
    state = json.loads(json.dumps(stream.state()))
    for same_model in (True, False):
        later = open_stream(session, [Rows(loud[:1]), Rows(np.zeros((2, FEATURES), np.float32))])
        later.restore(state, same_model=same_model)
        events = told(later)
        assert [event["alarm"] for event in events] == ["on", "cleared", "off"]
        assert [event["index"] for event in events] == [3, 4, 5]


def test_no_window_joins_over_rows_that_were_lost_and_an_event_says_so() -> None:
    session, rows = FakeSession(), quiet(25)
    first = open_stream(session, [Rows(rows[:15])])
    told(first)
    second = open_stream(session, [Rows(rows[15:])])
    second.restore(first.state(), lost="the pipe")
    events = told(second)
    assert (events[0]["kind"], events[0]["index"], events[0]["figures"]) == ("lost", 14, {"what": "the pipe"})
    assert [event["index"] for event in events[1:]] == [19]
    assert events[1]["faults"] == ["gap"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "version 2"),
        ({"shape": [9, 3]}, "its shape is"),
        ({"names": ["a", "b", "d"]}, "its names is"),
        ({"stride": 7}, "its stride is 7, here it is 10"),
        ({"alarm": {}}, "'on'"),
        ({"counters": {"rows": "many"}}, "invalid literal"),
        ({"windows": {"skip": 0, "seen": 2**63, "last_time": None, "held": None}}, "negative or too large"),
        ({"windows": {"skip": -1, "seen": 0, "last_time": None, "held": None}}, "negative or too large"),
        ({"windows": {"skip": 0, "seen": 1, "last_time": None, "held": {"values": {"dtype": "object"}}}}, "shape"),
    ],
)
def test_a_state_of_something_else_is_refused_in_one_error(change: dict[str, Any], problem: str) -> None:
    stream = open_stream(FakeSession(), [Rows(quiet(15))])
    told(stream)
    with pytest.raises(InputError, match=problem):
        open_stream(FakeSession(), []).restore({**stream.state(), **change})
    with pytest.raises(InputError, match="cannot be taken up"):
        open_stream(FakeSession(), []).restore({})


def test_rules_may_change_over_a_restart() -> None:
    stream = open_stream(FakeSession(alarm=AlarmSpec(5, 9, 1, 0.01, 0)), [Rows(quiet(95))])
    told(stream)
    other = open_stream(FakeSession(alarm=ALARM, guard=GUARD), [Rows(quiet(5))], drift=False)
    other.restore(stream.state())
    assert [event["index"] for event in told(other)] == [99]
