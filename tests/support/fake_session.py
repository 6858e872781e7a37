"""A session without an engine: the score is the mean of a window's squares, larger is less normal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import TinyBundle

from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.format.stream_rules import AlarmSpec, GuardSpec, StreamSpec
from vae_edge_runtime.scoring.results import HeadScores, Scores
from vae_edge_runtime.statistics.conformal import ScoreSketch
from vae_edge_runtime.stream import Event, Stream

LENGTH, FEATURES = 10, 3
CALIBRATION_ROWS = 2000
GUARD = GuardSpec((-4.0,) * 3, (4.0,) * 3, 0.5, 6, 4, 0.01, (False,) * 3)
ALARM = AlarmSpec(1, 1, 1, 0.01, 0)


class FakeSession:
    heads = ("elbo",)

    def __init__(
        self, length: int = LENGTH, rate: float = 0.001, guard: GuardSpec = GUARD, alarm: AlarmSpec = ALARM
    ) -> None:
        tiny = TinyBundle(Path("unused")).manifest
        assert tiny is not None
        shape = (length, FEATURES) if length else (FEATURES,)
        layout = "time_features" if length else "features"
        spec = InputSpec(shape, "float32", layout, -4.0, 4.0, ("a", "b", "c"))  # type: ignore[arg-type]
        variant = tiny.variants["fp32"]
        assert variant.calibration is not None
        self.calibrations = {"elbo": dataclasses.replace(variant.calibration, n=CALIBRATION_ROWS, points=20)}
        self.manifest = _stand_in(tiny, input=spec, stream=StreamSpec(guard, alarm))
        normal = np.random.default_rng(9).normal(size=(CALIBRATION_ROWS, *shape)).astype(np.float32)
        self.sketch = ScoreSketch.fit(self._score(normal))
        self.threshold = self.sketch.threshold(rate)
        self.calls: list[int] = []

    def correlate(self, rows: float) -> None:
        """Say that so many calibration rows count as one."""
        self.calibrations = {"elbo": dataclasses.replace(self.calibrations["elbo"], correlation_rows=rows)}

    @staticmethod
    def _score(x: np.ndarray) -> np.ndarray:
        return np.square(x).mean(tuple(range(1, x.ndim))).astype(np.float32)

    def score(self, x: np.ndarray, *, heads: Sequence[str] = (), maps: bool = False) -> Scores:
        assert np.isfinite(x).all()  # the guard lets nothing else through
        self.calls.append(len(x))
        score = self._score(x) if len(x) else np.empty(0, np.float32)
        head = HeadScores(score, self.threshold, self.sketch)
        found = np.square(x).astype(np.float32) if maps else None
        status = np.zeros(len(x), np.uint8)
        return Scores(score, self.threshold, self.sketch, score, None, status, {"elbo": head}, found)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        return np.full_like(x, 0.25)


class _Manifest:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


def _stand_in(tiny: Manifest, *, input: InputSpec, stream: StreamSpec) -> Any:
    return _Manifest(input=input, stream=stream, condition=None, score=tiny.score)


def normal_rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, FEATURES)).astype(np.float32)


def quiet(n: int, seed: int = 0) -> np.ndarray:
    """Normal rows that the guard lets through."""
    return normal_rows(n, seed).clip(-3.9, 3.9)


def decisions(stream: Stream) -> list[Event]:
    """Events of that kind."""
    return [event for event in stream if event.kind == "decision"]
