"""The input guard: every kind of fault, and independence of how a stream is cut into blocks."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from fake_session import FEATURES, GUARD, LENGTH, normal_rows
from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.format.stream_rules import GuardSpec
from vae_edge_runtime.stream.guard import Fault, Guard, fault_names
from vae_edge_runtime.stream.rows import Rows

SPEC = InputSpec((LENGTH, FEATURES), "float32", "time_features", -4.0, 4.0, ("a", "b", "c"))


def flags_of(values: np.ndarray, **more: object) -> np.ndarray:
    return Guard(GUARD, SPEC).check(Rows(values, **more))  # type: ignore[arg-type]


def test_good_rows_have_no_flag() -> None:
    assert not flags_of(normal_rows(500).clip(-3.9, 3.9), time=np.arange(500) * 0.01).any()


def test_each_fault_has_its_flag_in_its_cell() -> None:
    x = normal_rows(60).clip(-3.9, 3.9)
    x[5, 0], x[6, 1] = np.nan, -np.inf
    x[10, 2] = 8.01  # high 4 + half of the range 8
    x[20:30, 1] = 0.5  # stuck from the 6th equal value on
    x[40:46, 0] = 4.0  # at the rail, from the 4th on
    missing = np.zeros(x.shape, dtype=bool)
    missing[50, 2] = True
    x[50, 2] = np.nan
    time = np.arange(60) * 0.01
    time[55:] += 0.02
    wanted = np.zeros(x.shape, dtype=np.uint8)
    wanted[5, 0] = wanted[6, 1] = Fault.NON_FINITE
    wanted[10, 2] = Fault.OUT_OF_RANGE
    wanted[25:30, 1] = Fault.STUCK
    wanted[43:46, 0] = Fault.SATURATED
    wanted[50, 2] = Fault.GAP
    wanted[55] = Fault.GAP
    np.testing.assert_array_equal(flags_of(x, time=time, missing=missing), wanted)


def test_a_row_that_comes_too_late_is_counted_and_flagged() -> None:
    guard = Guard(GUARD, SPEC)
    flags = guard.check(Rows(normal_rows(4).clip(-3, 3), time=np.array([1.0, 1.01, 0.5, 0.51])))
    assert guard.late == 1
    assert [fault_names(int(f[0])) for f in flags] == [(), (), ("gap",), ()]


@pytest.mark.parametrize("period_s", [None, 0.01])
def test_a_time_that_is_none_is_a_gap_on_both_of_its_sides(period_s: float | None) -> None:
    guard = Guard(dataclasses.replace(GUARD, period_s=period_s), SPEC)
    times = np.array([1.0, 1.01, np.nan, 0.5, 0.51, np.inf, np.inf, 0.52, 0.53])
    flags = [guard.check(Rows(row[None], times[i : i + 1])) for i, row in enumerate(normal_rows(9).clip(-3, 3))]
    assert [bool(f.all()) for f in flags] == [False, False, True, True, False, True, True, True, False]


def test_what_lies_inside_the_margin_is_no_fault_and_constant_features_do_not_stick() -> None:
    x = np.tile(np.array([[0.1, 0.2, 0.3]], np.float32), (30, 1))
    spec = GuardSpec(GUARD.low, GUARD.high, 0.5, 6, 4, None, (True, True, False))
    flags = Guard(spec, SPEC).check(Rows(x))
    assert not flags[:, :2].any()
    assert (flags[5:, 2] == Fault.STUCK).all()
    assert not flags_of(np.array([[7.9, -7.9, 0.0]], np.float32)).any()


def test_frames_are_stuck_as_a_whole() -> None:
    frames = np.random.default_rng(0).integers(0, 200, (20, 4, 4, 1), dtype=np.uint8)
    frames[8:18] = frames[8]
    spec = GuardSpec((0.0,), (255.0,), 0.0, 5, 5, None, (False,))
    flags = Guard(spec, InputSpec((4, 4, 1), "uint8", "nhwc", 0, 255, ())).check(Rows(frames))
    assert flags.shape == (20, 1)
    np.testing.assert_array_equal(np.flatnonzero(flags[:, 0] == Fault.STUCK), np.arange(12, 18))


def by_definition(x: np.ndarray, missing: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The rules row by row, cell by cell, without vectors."""
    flags = np.zeros(x.shape, dtype=np.uint8)
    for j in range(x.shape[1]):
        run, last = 0, None
        for i, value in enumerate(x[:, j]):
            if missing[i, j]:
                flags[i, j] |= Fault.GAP
                run, last = 0, None
            elif not np.isfinite(value):
                flags[i, j] |= Fault.NON_FINITE
                run, last = 0, None
            else:
                run = run + 1 if last is not None and value == last else 1
                last = value
                if not -8 <= value <= 8:
                    flags[i, j] |= Fault.OUT_OF_RANGE
                rail = not -4 < value < 4
                if rail and run >= GUARD.saturated_rows:
                    flags[i, j] |= Fault.SATURATED
                if not rail and run >= GUARD.stuck_rows:
                    flags[i, j] |= Fault.STUCK
            if i and not 0 <= time[i] - time[i - 1] <= 0.015:
                flags[i, j] |= Fault.GAP
    return flags


@given(st.data())
def test_flags_are_those_of_the_rules_however_the_stream_is_cut(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    values = np.array([0.0, 1.0, 4.0, 9.0, np.nan, np.inf], np.float32)
    x = values[np.repeat(rng.integers(0, 6, (n, FEATURES)), rng.integers(1, 9), axis=0)[:n]]
    missing = rng.random(x.shape) < 0.1
    time = np.cumsum(rng.choice([0.01, 0.01, 0.01, 0.05, -0.01], n))
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=4))})
    guard = Guard(GUARD, SPEC)
    blocks = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    found = [guard.check(Rows(x[b], time[b], (), missing[b])) for b in blocks]
    np.testing.assert_array_equal(np.concatenate(found), by_definition(x, missing, time))


@pytest.mark.parametrize("flags", range(64))
def test_every_bit_has_a_name(flags: int) -> None:
    assert len(fault_names(flags)) == bin(flags).count("1")
