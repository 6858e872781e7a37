"""A session without an engine: column 0 of a row is its score by ``elbo``, column 1 by ``peak``."""

from __future__ import annotations

from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np

from vae_edge_runtime import Scores, SessionInfo
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.scoring.inputs import finite_rows
from vae_edge_runtime.scoring.results import HeadScores

THRESHOLDS = {"elbo": 2.0, "peak": 1.0}


class FakeVAE:
    heads = ("elbo", "peak")

    def __init__(self, spec: InputSpec | None = None, rate: float = 0.05) -> None:
        spec = spec or InputSpec((3,), "float32", "features", 0.0, 1.0, ())
        elbo, peak = SimpleNamespace(false_positive_rate=rate, n=99), SimpleNamespace(false_positive_rate=0.1, n=99)
        self.calibrations = {"elbo": elbo, "peak": peak}
        self.manifest = SimpleNamespace(input=spec)
        self.info = SessionInfo("fake.vaeb", "0" * 64, "fake", "1", "fake", "cpu", "fp32", False, None, 1)
        self.calls: list[int] = []

    def score(self, x: np.ndarray, *, condition: Any = None, heads: Any = (), maps: bool = False) -> Scores:
        self.calls.append(len(x))
        status = (~finite_rows(x)).astype(np.uint8)
        # Of a window the last row counts, of an image its first pixel.
        last = x[:, -1] if self.manifest.input.layout == "time_features" else x.reshape(len(x), -1)
        by_head = {
            name: HeadScores(np.where(status, np.nan, last[:, i]).astype(np.float32), THRESHOLDS[name], None)
            for i, name in enumerate(self.heads)
            if name in heads
        }
        first = by_head[next(iter(by_head))].score
        return Scores(first, 2.0, None, first, None, status, by_head, np.asarray(x, np.float32) if maps else None)

    def __enter__(self) -> FakeVAE:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def labelled_rows(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 3), the last third anomalous: two standard deviations up for ``elbo``, one for ``peak``."""
    labels = np.repeat([0, 0, 1], n // 3)
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    x[:, :2] += labels[:, None] * np.float32([2, 1])
    return x, labels
