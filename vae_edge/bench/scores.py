"""What each variant decides on the same rows, beside the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge.evaluation.scored import HeadRows, score_rows
from vae_edge_runtime import VAE, load

from .fresh import ColdStart
from .report import REFERENCE, Cell, VariantFigures
from .rows import Rows

Pair = tuple[str, str]
"""A variant and a device."""


def variant_figures(
    path: Path,
    sessions: Mapping[Cell, VAE],
    cold: Mapping[Pair, ColdStart],
    rows: Rows,
    progress: Callable[[str], object],
    isolation: Mapping[str, Any],
) -> tuple[VariantFigures, ...]:
    """Score the rows by every session, one per variant and device, and by the reference on the first device."""
    from vae_edge_export.agreement import score_agreement  # after the timing: it brings torch in where there is one

    first, vae = next(iter(sessions.items()))
    manifest = vae.manifest
    reference: HeadRows | None = None
    if REFERENCE in manifest.variants:
        with load(path, variant=REFERENCE, device=first.device, threads=first.threads, **isolation) as vae:
            reference = _scored(vae, rows)
    before = None if reference is None else _auroc(reference, rows)
    agreements = []
    for cell, vae in sessions.items():
        own = _scored(vae, rows)
        after = _auroc(own, rows)
        other = None if (cell.variant, cell.device) == (REFERENCE, first.device) else reference
        agreements.append(
            VariantFigures(
                variant=cell.variant,
                device=cell.device,
                provider=vae.info.provider,
                degraded_reason=vae.info.degraded_reason,
                graph_bytes=manifest.variant_bytes(cell.variant),
                cold_start=cold.get((cell.variant, cell.device)),
                agreement=None
                if other is None
                else score_agreement(other.score, own.score, other.threshold, own.threshold),
                auroc=after,
                auroc_change=None if other is None or after is None or before is None else after - before,
            )
        )
        progress("scoring")
    return tuple(agreements)


def _scored(vae: VAE, rows: Rows) -> HeadRows:
    head = vae.heads[0]
    return score_rows(vae, rows.x, condition=rows.condition, heads=(head,)).heads[head]


def _auroc(head: HeadRows, rows: Rows) -> float | None:
    from vae_edge_export.agreement import auroc

    ok = np.isfinite(head.score)
    return None if rows.labels is None else auroc(head.score[ok], rows.labels[ok])
