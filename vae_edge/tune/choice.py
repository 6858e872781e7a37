"""Which candidate wins: pure arithmetic on call times of interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vae_edge.bench.measure import F64, Latency, Ratio, latency, ratio
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.text import counted


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep.

    Attributes:
        p99_ms: of a call. max_flips: decisions that may differ from fp32's on the rows given; None: any number.
    """

    p99_ms: float | None = None
    max_flips: int | None = 0

    def __post_init__(self) -> None:
        if self.p99_ms is not None and not self.p99_ms > 0:
            raise OptionError(f"p99 is {self.p99_ms} ms; pass a positive time, such as 10ms")
        if self.max_flips is not None and self.max_flips < 0:
            raise OptionError(f"max_flips is {self.max_flips}; pass a whole number from 0")


@dataclass(frozen=True, eq=False)
class Timed:
    """Call times of one candidate.

    Attributes:
        seconds: (rounds, calls). batch: rows of a call. flips: None where it is the reference itself.
        decided: rows that flips are of.
    """

    seconds: F64
    batch: int
    flips: int | None
    decided: int


def halves(timed: Timed) -> tuple[F64, F64]:
    """Rounds to choose by, and rounds to report: every other one, so that a drift of the machine is in both."""
    return timed.seconds[0::2], timed.seconds[1::2]


def refusal(timed: Timed, limits: Limits) -> str | None:
    """Why a candidate may not win, by the rounds to choose by; None where it may.

    Raises:
        OptionError: there are too few calls for a p99.
    """
    if limits.max_flips is not None and timed.flips is not None and timed.flips > limits.max_flips:
        return f"{timed.flips} of {counted(timed.decided, 'decision')} differ, at most {limits.max_flips}"
    if limits.p99_ms is not None:
        chosen_by = latency(halves(timed)[0])
        if chosen_by.p99_ms is None:
            raise OptionError(
                f"a p99 needs 100 calls in the rounds to choose by, there are {chosen_by.calls}: more --rounds"
            )
        if chosen_by.p99_ms > limits.p99_ms:
            return f"p99 {chosen_by.p99_ms:.3g} ms, at most {limits.p99_ms:g}"
    return None


def choose(candidates: Sequence[Timed], limits: Limits) -> int | None:
    """Number of the winner: most rows per second of those that may win; None where none may.

    Candidates come in the order of preference: a later one wins only where the interval of its advantage over
    the earlier one excludes a tie.
    """
    winner: int | None = None
    for number, timed in enumerate(candidates):
        if refusal(timed, limits) is not None:
            continue
        if winner is None or _clearly_faster(timed, candidates[winner]):
            winner = number
    return winner


def _clearly_faster(timed: Timed, best: Timed) -> bool:
    time_ratio = advantage(halves(timed)[0], timed.batch, halves(best)[0], best.batch)
    return (time_ratio.median if time_ratio.high is None else time_ratio.high) < 1.0


def advantage(seconds: F64, batch: int, reference: F64, reference_batch: int) -> Ratio:
    """Time per row over that of the reference, from the same rounds; below 1 is faster."""
    return ratio(seconds / batch, reference / reference_batch)


def reported(timed: Timed) -> Latency:
    """Latency in the rounds that did not choose."""
    return latency(halves(timed)[1])
