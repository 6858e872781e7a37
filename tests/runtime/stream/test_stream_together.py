"""Live rows that wait are decided together: the same decisions, fewer calls."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_session import FEATURES, FakeSession, decisions, quiet
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_edge_runtime import InputError, Scores
from vae_edge_runtime.stream import Rows, open_stream


class BusySession(FakeSession):
    """Scores for the first time only after the source was read to its end; notes how many rows came at once."""

    def __init__(self, read: threading.Event, **options: Any) -> None:
        super().__init__(**options)
        self.read, self.at_once = read, list[int]()

    def score(self, x: np.ndarray, *, heads: Any = (), maps: bool = False) -> Scores:
        assert self.read.wait(10)
        self.at_once.append(len(x))
        return super().score(x, heads=heads, maps=maps)


def ending(rows: Any, read: threading.Event) -> Iterator[Any]:
    yield from rows
    read.set()


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.sampled_from([0.0, 1e9]), st.integers(1, 9))
def test_rows_that_wait_are_decided_together_and_as_each_for_itself(
    blocks: list[int], together_s: float, batch: int
) -> None:
    x = quiet(sum(blocks), seed=batch)
    x[len(x) // 2, 0] = np.nan
    edges = np.cumsum([0, *blocks])
    source = [Rows(x[a:b], np.arange(a, b) * 0.01) for a, b in itertools.pairwise(edges)]
    read = threading.Event()
    vae = BusySession(read, length=0)
    with open_stream(vae, ending(source, read), live=True, together_s=together_s, batch=batch) as stream:
        found = decisions(stream)
    alone = decisions(open_stream(FakeSession(length=0), source))
    assert [e.to_dict() for e in found] == [e.to_dict() for e in alone]
    assert max(vae.at_once) <= (batch if together_s else max(blocks))
    if together_s and batch >= sum(blocks):
        assert len(vae.at_once) == 2  # the first block tells how long a row takes


def test_how_many_are_decided_together_follows_from_the_time_they_take() -> None:
    read = threading.Event()

    class Slow(BusySession):
        def score(self, x: np.ndarray, *, heads: Any = (), maps: bool = False) -> Scores:
            time.sleep(0.05 * len(x))
            return super().score(x, heads=heads, maps=maps)

    vae = Slow(read, length=0)
    read.set()
    with open_stream(vae, quiet(20), live=True, together_s=0.275) as stream:
        assert len(decisions(stream)) == 20
    assert vae.at_once[0] == 1
    assert 2 <= max(vae.at_once) <= 5  # of 50 ms each, at most 275 ms


def test_a_row_that_does_not_fit_is_said_after_the_decisions_before_it() -> None:
    read = threading.Event()
    vae = BusySession(read, length=0)
    rows = [*quiet(6), np.zeros(FEATURES + 1)]
    events = iter(open_stream(vae, ending(rows, read), live=True, together_s=1e9))
    assert [next(events).index for _ in range(6)] == list(range(6))
    with pytest.raises(InputError, match="row 6 of the stream has 4 columns"):
        next(events)
    assert len(vae.at_once) == 2
