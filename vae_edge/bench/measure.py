"""Call times of several cells in interleaved rounds, and the figures that follow; clocks come from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CALLS_PER_TURN = 6
"""Timed calls of a cell before the next one has its turn; one more before them is dropped."""
GAP_SECONDS = 0.04
"""Between turns: threads of the last engine still spin when it returns (measured: 4 to 6 ms calls of 1 ms models)."""
FEWEST_ROUNDS = 3
_P95, _P99 = 0.95, 0.99
_TAIL = 0.025


@dataclass(frozen=True)
class Pace:
    """How long to measure: ``rounds``, or as many as fit into ``seconds`` of all cells together, at least 3."""

    rounds: int | None = 20
    seconds: float | None = None
    calls_per_turn: int = CALLS_PER_TURN
    gap_seconds: float = GAP_SECONDS

    def goes_on(self, done: int, elapsed_seconds: float) -> bool:
        """Whether there is another round after ``done`` of them."""
        if self.rounds is not None:
            return done < self.rounds
        return done < FEWEST_ROUNDS or elapsed_seconds < (self.seconds or 0.0)


@dataclass(frozen=True)
class Latency:
    """Time of one call, over all timed calls of a cell.

    Attributes:
        p50_ms, p95_ms, p99_ms: percentiles by nearest rank, each one of the measured times; None where there
            are fewer calls than such a percentile needs, 20 and 100, and ``missing`` says so.
    """

    calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None
    missing: str | None


@dataclass(frozen=True)
class Ratio:
    """Median time of a cell over that of another in the same round: the median over the rounds.

    Attributes:
        low, high: its 95 % interval; None below 6 rounds, which have none.
    """

    median: float
    low: float | None
    high: float | None
    rounds: int


def interleaved(
    calls: Sequence[Callable[[], object]],
    pace: Pace,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
    progress: Callable[[], object] = lambda: None,
) -> tuple[F64, ...]:
    """Seconds per call of each cell, (rounds, calls_per_turn).

    Every cell has one turn per round; the order is reversed in every other round, and rotated by one in
    every second, so that drift of the machine hits all alike and no cell always follows the same one.

    Args:
        calls: one per cell.
        pace: how long.
        clock: seconds, of high resolution. sleep: waits so many seconds.
        progress: called after each turn.
    """
    turns: tuple[list[list[float]], ...] = tuple([] for _ in calls)
    start = clock()
    done = 0
    while pace.goes_on(done, clock() - start):
        for i in turn_order(len(calls), done):
            turns[i].append(_turn(calls[i], pace.calls_per_turn, clock))
            sleep(pace.gap_seconds)
            progress()
        done += 1
    return tuple(np.asarray(rounds, dtype=np.float64) for rounds in turns)


def turn_order(cells: int, done: int) -> list[int]:
    """Which cell follows which in the round after ``done`` others."""
    shift = done // 2 % max(cells, 1)
    order = [*range(shift, cells), *range(shift)]
    return order[::-1] if done % 2 else order


def _turn(call: Callable[[], object], timed: int, clock: Callable[[], float]) -> list[float]:
    call()  # finds caches and threads of the neighbour's turn; not timed
    times = []
    for _ in range(timed):
        start = clock()
        call()
        times.append(clock() - start)
    return times


def latency(seconds: NDArray[Any]) -> Latency:
    """Figures of call times of any shape."""
    times = np.asarray(seconds, dtype=np.float64).ravel() * 1e3
    n = len(times)

    def percentile(p: float) -> float | None:
        return nearest_rank(times, p) if n >= calls_needed(p) else None

    lacking = [f"{name} needs {calls_needed(p)} calls" for name, p in (("p95", _P95), ("p99", _P99))
               if n < calls_needed(p)]  # fmt: skip
    return Latency(
        calls=n,
        mean_ms=float(times.mean()),
        p50_ms=nearest_rank(times, 0.5),
        p95_ms=percentile(_P95),
        p99_ms=percentile(_P99),
        missing=f"{', '.join(lacking)}; there were {n}" if lacking else None,
    )


def calls_needed(p: float) -> int:
    """Calls from which the percentile ``p`` is another figure than the maximum or close to it: 1 / (1 - p)."""
    return math.ceil(round(1.0 / (1.0 - p), 6))


def nearest_rank(values: NDArray[Any], p: float) -> float:
    """The smallest of the values that at least the share ``p`` of them does not exceed (Hyndman & Fan 1996, type 1)."""
    return float(np.quantile(values, p, method="inverted_cdf"))


def ratio(cell: NDArray[Any], reference: NDArray[Any]) -> Ratio:
    """Times (rounds, calls) of a cell over those of another from the same rounds; below 1 is faster."""
    per_round = np.sort(np.median(cell, axis=1) / np.median(reference, axis=1))
    n = len(per_round)
    k = _rank_of_interval(n)
    low, high = (float(per_round[k - 1]), float(per_round[n - k])) if k else (None, None)
    return Ratio(float(np.median(per_round)), low, high, n)


def _rank_of_interval(n: int) -> int:
    """The k for which the k-th smallest and k-th largest of n values hold their median with at least 95 %.

    Whatever the distribution, the number of values below the median is binomial (n, 1/2); 0 where no k does
    (H. A. David and H. N. Nagaraja, *Order Statistics*, 2003, section 7.1).
    """
    k, below = 0, 0.0
    while True:
        below += math.comb(n, k) / 2**n  # of exactly k values below the median
        if below > _TAIL:
            return k
        k += 1
