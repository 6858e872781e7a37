"""``compare``: two sessions and rows to one comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vae_edge.bench.rows import Rows
from vae_edge.evaluation.scored import HeadRows, score_rows
from vae_edge_runtime import VAE
from vae_edge_runtime.text import counted

from .facts import check_same_rows, facts
from .rebuilt import Rebuilt
from .report import Comparison, Ranked

if TYPE_CHECKING:
    from vae_edge_export.agreement import LatentError, ScoreAgreement

ROWS_AT_ONCE = 256
_FEW_ROWS = 100


@dataclass(frozen=True, eq=False)
class Compared:
    """The comparison, and the scores by the default heads it comes from."""

    comparison: Comparison
    a: HeadRows
    b: HeadRows


def compare(
    a: VAE, b: VAE, rows: Rows, *, sizes: tuple[int, int], progress: Callable[[int], object] = lambda rows: None
) -> Compared:
    """Run both on the same rows.

    Args:
        a: the reference. b: the other.
        rows: raw rows, with labels where they are known.
        sizes: of the two files, in bytes.
        progress: called with the number of rows done since the last call; every row is done three times.

    Raises:
        InputError: the bundles take different rows, or these do not fit.
    """
    check_same_rows(a.manifest, b.manifest)
    from vae_edge_export.agreement import latent_error

    names = [name for name in a.heads if name in b.heads]
    scored_a, scored_b = (
        score_rows(
            vae, rows.x, condition=rows.condition, heads=tuple({vae.heads[0]: 0, **dict.fromkeys(names)}),
            progress=progress,
        )
        for vae in (a, b)
    )  # fmt: skip
    first_a, first_b = scored_a.heads[a.heads[0]], scored_b.heads[b.heads[0]]
    both = np.flatnonzero(scored_a.ok & scored_b.ok)
    rebuilt = Rebuilt(a, b)
    for start in range(0, len(both), ROWS_AT_ONCE):
        part = rows.take(both[start : start + ROWS_AT_ONCE])
        rebuilt.add(part)
        progress(len(part))
    latents: LatentError | None = None
    if a.manifest.pair_id == b.manifest.pair_id and len(both):
        latents = latent_error(*rebuilt.means())
    decisions = _agreement(first_a, first_b)
    comparison = Comparison(
        a=f"{a.info.path} {a.info.variant}",
        b=f"{b.info.path} {b.info.variant}",
        facts=facts(a, b),
        size_bytes=sizes,
        graph_bytes=(a.manifest.variant_bytes(a.info.variant), b.manifest.variant_bytes(b.info.variant)),
        rows=len(rows),
        rows_source=rows.source,
        default_heads=(a.heads[0], b.heads[0]),
        decisions=decisions,
        heads={name: _agreement(scored_a.heads[name], scored_b.heads[name]) for name in names},
        latents=latents,
        reconstructions=rebuilt.figures(),
        auroc=_ranked(first_a, first_b, rows.labels, both),
        warnings=_warnings(a, b, rows, decisions),
    )
    return Compared(comparison, first_a, first_b)


def _agreement(a: HeadRows, b: HeadRows) -> ScoreAgreement:
    from vae_edge_export.agreement import score_agreement

    return score_agreement(a.score, b.score, a.threshold, b.threshold)


def _ranked(a: HeadRows, b: HeadRows, labels: NDArray[np.bool_] | None, both: NDArray[np.intp]) -> Ranked | None:
    from vae_edge_export.agreement import auroc

    if labels is None:
        return None
    return Ranked(auroc(a.score[both], labels[both]), auroc(b.score[both], labels[both]))


def _warnings(a: VAE, b: VAE, rows: Rows, decisions: ScoreAgreement) -> tuple[str, ...]:
    notes = []
    if len(rows) < _FEW_ROWS:
        what = f"the {rows.source}" if rows.kind == "golden" else counted(len(rows), "row")
        notes.append(f"all figures are of {what}: one decision that differs is {1 / len(rows):.1%}; pass --rows DATA")
    if a.heads[0] != b.heads[0]:
        notes.append(f"default heads differ ({a.heads[0]}, {b.heads[0]}): errors of scores mean nothing, ranks do")
    if decisions.agreement is None:
        notes.append("a bundle carries no threshold: decisions were not compared")
    notes += [f"{vae.info.path} is degraded: {vae.info.degraded_reason}" for vae in (a, b) if vae.info.degraded]
    return tuple(notes)
