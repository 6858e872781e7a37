"""Times of rows: what is one, and that it does not matter how a source is cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.watch.times import Times
from vae_edge_runtime.errors import DataError


def test_seconds_are_taken_as_they_are_and_iso_is_kept_as_a_label() -> None:
    seconds, labels = Times("f")(["0.5", " 1e3", "-2"])
    np.testing.assert_array_equal(seconds, [0.5, 1000, -2])
    assert labels == ()
    seconds, labels = Times("f")(["1970-01-01T00:00:01Z", "1970-01-01 00:00:02.5", "1970-01-01T01:00:03+01:00"])
    np.testing.assert_array_equal(seconds, [1, 2.5, 3])
    assert labels == ("1970-01-01T00:00:01Z", "1970-01-01 00:00:02.5", "1970-01-01T01:00:03+01:00")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31T12:00:00Z", 0.0),
        ("2026-01-31T12:00Z", 0.0),
        ("2026-01-31T12:00:00z", 0.0),
        ("2026-01-31 14:00:00+02", 0.0),
        ("2026-01-31T14:00:00+0200", 0.0),
        ("2026-01-31T06:30:00-05:30", 0.0),
        ("2026-01-31T12:00:00.5Z", 0.5),
        ("2026-01-31T12:00:00,25", 0.25),
        ("2026-01-31T12:00:01.123456789Z", 1.123456789),
    ],
)
def test_every_python_reads_the_times_that_loggers_write(text: str, seconds: float) -> None:
    assert Times("f")([text])[0][0] - 1769860800 == pytest.approx(seconds, abs=1e-6)


def test_a_leap_second_is_no_gap_and_time_does_not_run_back_after_it() -> None:
    texts = ["2016-12-31T23:59:59.5Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00Z"]
    np.testing.assert_array_equal(np.diff(Times("f")(texts)[0]), [0.5, 0, 0])
    assert np.isnan(Times("f")(["2016-12-31T23:59:59Z", "2016-12-31T23:59:61Z"])[0][1])


@pytest.mark.parametrize("broken", ["", "broken", "nan", "inf", "1e999", "1_000", "None"])
def test_a_later_time_that_is_none_is_nan_and_its_neighbours_stay_seconds(broken: str) -> None:
    times = Times("f")
    np.testing.assert_array_equal(times(["20260131", broken, "20260132"])[0], [20260131, np.nan, 20260132])
    np.testing.assert_array_equal(times([broken])[0], [np.nan])


@pytest.mark.parametrize("first", ["noon", "", "nan", "inf"])
def test_a_source_whose_first_time_is_none_is_refused(first: str) -> None:
    with pytest.raises(DataError, match=f"f holds '{first}' for a time: write seconds, or ISO 8601"):
        Times("f")([first, "1"])


TEXTS = st.sampled_from(["1", "2.5", "", "x", "nan", "2026-01-31T12:00:00Z", "17000101"])


@given(st.lists(TEXTS, max_size=8), st.integers(1, 8))
def test_times_do_not_depend_on_how_a_source_is_cut(texts: list[str], size: int) -> None:
    texts = ["0", *texts]
    whole, labels = Times("f")(texts)
    cut = Times("f")
    parts = [cut(texts[i : i + size]) for i in range(0, len(texts), size)]
    np.testing.assert_array_equal(np.concatenate([seconds for seconds, _ in parts]), whole)
    pieces = [label for seconds, some in parts for label in (some or [""] * len(seconds))]
    assert pieces == list(labels or [""] * len(texts))
