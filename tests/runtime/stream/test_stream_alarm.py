"""Alarms: k of n, hysteresis, cool-down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.stream import Alarm

DECISIONS = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=80)
SPECS = st.builds(
    lambda of, k, clear, rate, cool: AlarmSpec(min(k, of), of, clear, rate, cool),
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.floats(0.05, 0.5), st.integers(0, 5),
)  # fmt: skip


def run(spec: AlarmSpec, p_values: list[float | None], rate: float = 0.05) -> list[str]:
    alarm = Alarm(spec)
    return [alarm.step(None if p is None else p <= rate, p) for p in p_values]


def test_by_default_every_anomaly_is_an_alarm() -> None:
    assert run(AlarmSpec(1, 1, 1, 0.05, 0), [0.5, 0.01, 0.02, 0.9, 0.01]) == [
        "off",
        "raised",
        "on",
        "cleared",
        "raised",
    ]


def test_two_of_three_are_needed() -> None:
    spec = AlarmSpec(2, 3, 1, 0.05, 0)
    assert run(spec, [0.01, 0.5, 0.5, 0.01, 0.5, 0.01]) == ["off", "off", "off", "off", "off", "raised"]


def test_between_the_two_rates_nothing_changes() -> None:
    spec = AlarmSpec(1, 1, 2, 0.2, 0)
    assert run(spec, [0.1, 0.01, 0.1, 0.3, 0.1, 0.3, 0.3]) == ["off", "raised", "on", "on", "on", "on", "cleared"]


def test_no_alarm_while_it_cools_down() -> None:
    spec = AlarmSpec(1, 1, 1, 0.05, 2)
    assert run(spec, [0.01, 0.5, 0.01, 0.01, 0.01]) == ["raised", "cleared", "off", "off", "raised"]


def test_a_window_without_a_score_neither_raises_nor_clears() -> None:
    spec = AlarmSpec(2, 2, 1, 0.05, 0)
    assert run(spec, [0.01, None, 0.01, None, 0.5]) == ["off", "off", "raised", "on", "cleared"]


@given(SPECS, DECISIONS)
def test_alarms_are_raised_and_cleared_in_turn(spec: AlarmSpec, p_values: list[float | None]) -> None:
    states = run(spec, p_values)
    changes = [state for state in states if state in ("raised", "cleared")]
    assert changes == (["raised", "cleared"] * len(changes))[: len(changes)]
    on = False
    for state in states:
        assert state in (("on", "cleared") if on else ("off", "raised"))
        on = state in ("raised", "on")


@given(SPECS, DECISIONS)
def test_an_alarm_has_its_anomalies_and_waits_out_the_cool_down(spec: AlarmSpec, p_values: list[float | None]) -> None:
    known = [(state, p) for state, p in zip(run(spec, p_values), p_values, strict=True) if p is not None]
    cleared_at = None
    for i, (state, _) in enumerate(known):
        if state == "raised":
            recent = [p <= 0.05 for _, p in known[max(0, i - spec.of + 1) : i + 1]]
            assert sum(recent) >= spec.raise_after
            assert cleared_at is None or i - cleared_at > spec.cool_down
        if state == "cleared":
            cleared_at = i
            assert all(p > max(0.05, spec.clear_rate) for _, p in known[i - spec.clear_after + 1 : i + 1])
