"""The report of an export as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..format.figures import ModelFit
from ..format.manifest import Variant
from .html import escape, table


def report_page(
    path: str,
    size_bytes: int,
    bundle_id: str,
    fit: ModelFit,
    variants: Mapping[str, Variant],
    graph_bytes: Mapping[str, int],
    warnings: Sequence[str],
) -> str:
    """A table with a row per variant, what the bundle is above it, and the warnings below it.

    Args:
        path: of the bundle. size_bytes, bundle_id: of it.
        fit: how well the model fits the normal rows.
        variants, graph_bytes: figures and bytes of each variant.
        warnings: what to know before trusting the bundle.
    """
    columns = (
        "variant", "bytes", "largest relative difference", "decisions flipped", "rank correlation", "AUROC",
        "threshold", "false alarms",
    )  # fmt: skip
    rows = []
    for name, variant in variants.items():
        verdict, calibration = variant.verdict, variant.calibration
        rows.append(
            (
                name,
                f"{graph_bytes[name]:,}",
                max((parity.max_relative for parity in variant.parity.values()), default=None),
                f"{verdict.flipped} of {verdict.rows}" if verdict else None,
                verdict.rank_correlation if verdict else None,
                verdict.auroc if verdict else None,
                calibration.threshold if calibration else None,
                f"{calibration.false_positive_rate:.3g} of {calibration.n} rows" if calibration else None,
            )
        )
    listed = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return (
        table(columns, rows, title=f"{path}: {size_bytes:,} bytes, bundle {bundle_id[:12]}", note=str(fit))
        + (f"<div>Warnings:</div><ul>{listed}</ul>" if listed else "")
    )  # fmt: skip
