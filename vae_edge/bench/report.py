"""What ``bench`` found, as frozen objects with plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .environment import Environment
from .fresh import ColdStart
from .measure import Latency, Ratio

if TYPE_CHECKING:
    from vae_edge_export.agreement import ScoreAgreement

REFERENCE = "fp32"
"""The variant that others are compared with."""
_UNSTEADY = 2.0


@dataclass(frozen=True)
class Cell:
    """One thing to time: ``threads`` None leaves them to the engine."""

    variant: str
    device: str
    batch: int
    threads: int | None

    def __str__(self) -> str:
        return f"{self.variant} {self.device} batch {self.batch}, {threads_text(self.threads)}"


@dataclass(frozen=True)
class Energy:
    """Power of the whole board while one cell ran without a pause, by tegrastats.

    Attributes:
        mean_w: over ``samples`` of them in ``seconds``. per_row_j: mean power by time, over the rows of that time.
    """

    mean_w: float
    per_row_j: float
    samples: int
    seconds: float


@dataclass(frozen=True)
class CellFigures:
    """One cell.

    Attributes:
        rows_per_s: batch over the mean time of a call.
        against_fp32: time over that of the reference at the same device, batch and threads, round by round;
            None where that was not measured, and for the reference itself.
        energy: None where there is no tegrastats.
    """

    cell: Cell
    latency: Latency
    rows_per_s: float
    against_fp32: Ratio | None
    energy: Energy | None


@dataclass(frozen=True)
class VariantFigures:
    """One variant on one device.

    Attributes:
        provider: what ran it; degraded_reason: why not what was asked for.
        graph_bytes: stored bytes of its graphs, each weight once.
        cold_start: None where it was not asked for.
        agreement: of its scores with those of the reference on the first device; None for the reference
            itself, and where the bundle has none.
        auroc: on the labelled rows; auroc_change: less that of the reference. None without labels.
    """

    variant: str
    device: str
    provider: str
    degraded_reason: str | None
    graph_bytes: int
    cold_start: ColdStart | None
    agreement: ScoreAgreement | None
    auroc: float | None
    auroc_change: float | None


@dataclass(frozen=True)
class BenchReport:
    """Everything that was found.

    Attributes:
        task: what one call did: ``score``, ``encode`` or ``sample``.
        rows_source, rows: what was scored. warnings: in words, what to know before the figures are believed.
        calls_per_turn, gap_seconds, rounds: how the calls were interleaved.
    """

    bundle: str
    bundle_id: str
    size_bytes: int
    task: str
    rows_source: str
    rows: int
    rounds: int
    calls_per_turn: int
    gap_seconds: float
    environment: Environment
    cells: tuple[CellFigures, ...]
    variants: tuple[VariantFigures, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def threads_text(threads: int | None) -> str:
    """``1 thread``, ``4 threads``, or that the engine chose."""
    return "threads auto" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"


def warnings_of(environment: Environment, cells: tuple[CellFigures, ...], notes: tuple[str, ...]) -> tuple[str, ...]:
    """``notes``, and what the figures themselves say about how far they can be trusted."""
    all_notes = list(notes)
    if environment.is_loaded and environment.load_average:
        all_notes.append(
            f"load average {environment.load_average[0]:.2f} on {environment.cores} cores at the start: other work was "
            "measured too; trust ratios from the same rounds, not times"
        )
    unsteady = [c for c in cells if c.latency.p95_ms is not None and c.latency.p95_ms > _UNSTEADY * c.latency.p50_ms]
    if unsteady:
        all_notes.append(f"p95 is above 2 x p50 for {'; '.join(str(c.cell) for c in unsteady)}: something disturbed it")
    compared = [c.against_fp32 for c in cells if c.against_fp32]
    if any(r.low is None for r in compared):
        all_notes.append(f"time / fp32 has no interval: it needs 6 rounds, there were {compared[0].rounds}")
    lacking = sorted({c.latency.missing for c in cells if c.latency.missing})
    all_notes += [f"no percentile where there are too few calls: {text}" for text in lacking]
    return tuple(all_notes)
