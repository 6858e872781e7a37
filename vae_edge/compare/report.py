"""What ``compare`` found, as frozen objects with plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .facts import Fact

if TYPE_CHECKING:
    from vae_edge_export.agreement import LatentError, ScoreAgreement


@dataclass(frozen=True)
class Spread:
    """A figure per row: the median, and that of the worst row."""

    median: float
    worst: float


@dataclass(frozen=True)
class Reconstructions:
    """Rows rebuilt from the posterior mean by both.

    Attributes:
        rows: that both could rebuild.
        peak: of PSNR and SSIM: the range of values that a was calibrated on.
        psnr_db, ssim: of b's against a's. SSIM is None for rows that are no images of 11 x 11 pixels or more.
        psnr_a_db, psnr_b_db: of each against the rows themselves; None where an output is no row.
    """

    rows: int
    peak: float
    psnr_db: Spread
    ssim: Spread | None
    psnr_a_db: Spread | None
    psnr_b_db: Spread | None


@dataclass(frozen=True)
class Ranked:
    """AUROC of both on the rows that both scored."""

    a: float
    b: float

    @property
    def change(self) -> float:
        """B less a."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Everything that was found; a is the reference.

    Attributes:
        a, b: file and variant. facts: what they say about themselves.
        size_bytes: of the files; graph_bytes: of the variants' graphs.
        rows, rows_source: what was scored.
        default_heads: of a and b, whose thresholds decide; decisions: by them.
        heads: each that both have.
        latents: None where the two are not of the same weights (pair id).
        reconstructions: None where the outputs differ in shape, or the calibrated range is empty.
        auroc: None without labels. warnings: in words, what to know before the figures are believed.
    """

    a: str
    b: str
    facts: tuple[Fact, ...]
    size_bytes: tuple[int, int]
    graph_bytes: tuple[int, int]
    rows: int
    rows_source: str
    default_heads: tuple[str, str]
    decisions: ScoreAgreement
    heads: dict[str, ScoreAgreement]
    latents: LatentError | None
    reconstructions: Reconstructions | None
    auroc: Ranked | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, derived figures included; of the facts those that differ."""
        differing = [asdict(fact) for fact in self.facts if fact.differs]
        auroc = None if self.auroc is None else {**asdict(self.auroc), "change": self.auroc.change}
        return {**asdict(self), "facts": differing, "auroc": auroc}

    def missed(self, min_agreement: float | None, max_auroc_change: float | None) -> tuple[str, ...]:
        """Limits that are not kept, in words; a limit of None is kept, a figure that is not there misses it."""
        missed = []
        alike = self.decisions.agreement
        if min_agreement is not None and (alike is None or not alike >= min_agreement):
            have = "unknown" if alike is None else f"{alike:.4%}"
            missed.append(f"agreement {have}, at least {min_agreement:.4%}")
        if max_auroc_change is not None:
            if self.auroc is None:
                missed.append(f"AUROC unknown, change at most {max_auroc_change:g}")
            elif not abs(self.auroc.change) <= max_auroc_change:
                missed.append(f"AUROC changed by {self.auroc.change:+.5f}, at most {max_auroc_change:g}")
        return tuple(missed)
