"""From decisions to alarms: k of n, hysteresis, cool-down. A state machine without a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from .. import arguments
from ..errors import InputError
from ..format.stream_rules import AlarmSpec

AlarmState = Literal["off", "raised", "on", "cleared"]


class Alarm:
    """One alarm; ``step`` is called once per decision, in order."""

    def __init__(self, spec: AlarmSpec) -> None:
        arguments.instance("spec", spec, AlarmSpec, "an AlarmSpec")
        self._spec = spec
        self._recent: deque[bool] = deque(maxlen=spec.of)
        self._on = False
        self._clear = self._cooling = 0

    def step(self, is_anomaly: bool | None, p_value: float | None) -> AlarmState:
        """What the alarm does at this decision.

        Args:
            is_anomaly: True or False; None where there was no score: such a decision neither raises nor clears.
            p_value: against the calibration rows; None: a decision is clear where it is no anomaly.
        """
        if is_anomaly is not None:
            arguments.flag("is_anomaly", is_anomaly)
        if p_value is not None:
            arguments.number("p_value", p_value)
        if is_anomaly is None:
            return "on" if self._on else "off"
        if self._on:
            clear = not is_anomaly and (p_value is None or p_value > self._spec.clear_rate)
            self._clear = self._clear + 1 if clear else 0
            if self._clear < self._spec.clear_after:
                return "on"
            self._on, self._clear, self._cooling = False, 0, self._spec.cool_down
            self._recent.clear()
            return "cleared"
        if self._cooling:
            self._cooling -= 1
            return "off"
        self._recent.append(is_anomaly)
        if sum(self._recent) < self._spec.raise_after:
            return "off"
        self._on = True
        return "raised"

    def state(self) -> dict[str, Any]:
        """Plain values that ``restore`` takes."""
        return {"recent": list(self._recent), "on": self._on, "clear": self._clear, "cooling": self._cooling}

    def restore(self, state: Mapping[str, Any], *, same_model: bool) -> None:
        """Go on where ``state`` was taken. Of another model only an alarm that is on, or that cools down, is kept.

        The rules may have changed since: more decisions than they look at are forgotten.

        Raises:
            InputError: it is no state.
        """
        arguments.flag("same_model", same_model)
        try:
            self._on, self._cooling = bool(state["on"]), int(state["cooling"])
            self._clear = int(state["clear"]) if same_model else 0
            recent = [bool(decision) for decision in state["recent"]] if same_model else []
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise InputError(f"the state of an alarm cannot be taken up: {error}") from error
        self._recent.clear()
        self._recent.extend(recent)
