"""``repr`` of what the runtime gives back: one line of at most 300 characters, whatever it holds."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_session import FakeSession, quiet
from tiny_bundle import FEATURES, TinyBundle

import vae_edge_runtime
from vae_edge_runtime import (
    VAE,
    Bundle,
    Decompressed,
    Event,
    Scorer,
    ScoreSketch,
    SessionInfo,
    load,
    recalibrate,
    standard_normal,
    verify,
)
from vae_edge_runtime.stream import open_stream

ROWS = np.random.default_rng(0).normal(size=(400, FEATURES)).astype(np.float32)
ELSEWHERE = {"Scores", "HeadScores"}
"""Types whose ``repr`` is held by tests of their own."""


def _recalibrated(path: Path) -> Any:
    return recalibrate(path, path.with_name("again.vaeb"), rows=ROWS)


def _decompressed() -> Decompressed:
    text, number = np.full(2, "exact"), np.full(2, np.nan)
    return Decompressed(ROWS[:2], text, text, number.astype(np.float32), number, np.zeros(2, np.uint8), None)


def _event() -> Event:
    row = quiet(1)[0]
    heads = {f"head {i}": (1.0, 0.5) for i in range(20)}
    return Event("decision", 7, top=(("a" * 200, 0.5),), heads=heads, map=row, row=row)


MADE: dict[str, Callable[[VAE, Path], Any]] = {
    "VAE": lambda vae, path: vae,
    "Anatomy": lambda vae, path: vae.explain(ROWS),
    "Bundle": lambda vae, path: Bundle.open(path),
    "Decompressed": lambda vae, path: _decompressed(),
    "Event": lambda vae, path: _event(),
    "GoldenCheck": lambda vae, path: verify(path).checks[0],
    "Manifest": lambda vae, path: vae.manifest,
    "Posterior": lambda vae, path: vae.encode(ROWS),
    "Recalibration": lambda vae, path: _recalibrated(path),
    "ScoreSketch": lambda vae, path: ScoreSketch.fit(standard_normal(5000, seed=1)),
    "Scorer": lambda vae, path: Scorer(path),
    "SessionInfo": lambda vae, path: vae.info,
    "Stream": lambda vae, path: open_stream(FakeSession(), quiet(30)),
    "ThresholdChange": lambda vae, path: _recalibrated(path).changes[0],
    "Verification": lambda vae, path: verify(path),
}
"""Every public type that is no error and no enumeration, and how one comes about."""


def test_the_table_holds_every_public_type() -> None:
    types = {
        name: value for name in vae_edge_runtime.__all__ if inspect.isclass(value := getattr(vae_edge_runtime, name))
    }
    results = {name for name, kind in types.items() if not issubclass(kind, (Exception, enum.Enum))}
    assert results - ELSEWHERE == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_result_is_shown_in_one_short_line(tiny: TinyBundle, name: str) -> None:
    deep = tiny.path.parent / ("folder-" + "x" * 200)
    deep.mkdir()
    tiny.path = deep / ("b" * 200 + ".vaeb")
    with load(tiny.write(), device="cpu", threads=1) as vae:
        value = MADE[name](vae, tiny.path)
        shown = repr(value)
    assert type(value).__name__ == name
    assert name in shown
    assert 20 < len(shown) <= 300
    assert len(shown.splitlines()) == 1


def test_arrays_are_shown_by_dtype_and_shape_and_text_that_is_short_as_it_is(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu", threads=1) as vae:
        shown = repr(vae.encode(ROWS))
        assert "mean=float32[400, 2], logvar=float32[400, 2], indices=None, status=uint8[400]" in shown
        assert f"pair_id={vae.manifest.pair_id!r}" in shown
        assert repr(vae) == f"<VAE tiny {vae.info}>"
    assert repr(vae) == "<VAE tiny closed>"


def test_a_stream_shows_what_it_has_counted() -> None:
    events = open_stream(FakeSession(), quiet(30))
    assert repr(events) == "<Stream elbo: no rows yet>"
    assert repr(next(iter(events))).startswith("Event(kind='decision', index=9, time=None, status='ok', score=")
    assert repr(events) == "<Stream elbo: 10 rows, 1 decision>"


def test_a_long_reason_is_cut() -> None:
    info = SessionInfo("p", "b" * 64, "ort", "1", "CPU", "cpu", "fp32", True, "no GPU\n" * 100, None)
    assert len(repr(info)) <= 300
    assert "degraded=True" in repr(info)
    assert "\n" not in repr(info)
