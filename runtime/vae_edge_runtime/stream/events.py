"""What a stream says: one event per decision, and one where the source falls silent or drifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..record import one_line
from ..scoring.plain import plain
from .alarm import AlarmState

EventStatus = Literal["ok", "invalid_input", "unknown_code", "non_finite_output"]


@dataclass(frozen=True, eq=False)
class Event:
    """One event of a stream.

    Attributes:
        kind: ``decision``: about one window or row; ``stale``: nothing came for too long; ``drift``: scores are
            no longer those of the calibration; ``lost``: rows of the source are missing before the next one.
        index: of the last row it is about, from 0.
        time: of that row, as the source gave it.
        score, p_value, is_anomaly: by the default head; None where there is no score.
        status: ``ok``, or why there is no score.
        faults: in words; ``fault_features``: names or indices of the features they are about.
        alarm: what the alarm did.
        top: the features (pixels) that contribute most to an anomaly: (name, share in [0, 1]).
        heads: score and p-value of further heads that were asked for.
        imputed: missing cells that the model itself filled in before the score.
        dropped: rows lost so far, because they came faster than they could be scored.
        figures: of a drift, a silence or a loss.
        map: (*input_shape) float32 where it was asked for; row: what it is the map of, likewise.
    """

    kind: Literal["decision", "stale", "drift", "lost"]
    index: int
    time: float | str | None = None
    score: float | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    status: EventStatus = "ok"
    faults: tuple[str, ...] = ()
    fault_features: tuple[str, ...] = ()
    alarm: AlarmState = "off"
    top: tuple[tuple[str, float], ...] = ()
    heads: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    imputed: int = 0
    dropped: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    map: NDArray[np.float32] | None = None
    row: NDArray[Any] | None = None

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.to_dict().items()]
        shown += [f"{name}={array.dtype}{list(array.shape)}" for name, array in (("map", self.map), ("row", self.row))
                  if array is not None]  # fmt: skip
        return one_line(f"Event({', '.join(shown)})")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without arrays, without what the kind of event does not have, None instead of NaN."""
        return {name: plain(value) for name, value in self._values().items()}

    def _values(self) -> dict[str, Any]:
        common = {"kind": self.kind, "index": self.index, "time": self.time}
        if self.kind != "decision":
            return common | {"figures": dict(self.figures), "dropped": self.dropped}
        values: dict[str, Any] = common | {
            "status": self.status,
            "score": self.score,
            "p_value": self.p_value,
            "is_anomaly": self.is_anomaly,
            "alarm": self.alarm,
            "dropped": self.dropped,
        }
        if self.faults:
            values |= {"faults": list(self.faults), "fault_features": list(self.fault_features)}
        if self.top:
            values["top"] = [{"name": name, "share": round(share, 4)} for name, share in self.top]
        if self.heads:
            values["heads"] = {head: {"score": s, "p_value": p} for head, (s, p) in self.heads.items()}
        return values | ({"imputed": self.imputed} if self.imputed else {})
