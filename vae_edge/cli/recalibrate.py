"""``vae-edge recalibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge_runtime import Bundle, Recalibration, recalibrate
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_existing

from . import _console, _options, _rows, _session, _tables

NAME = "recalibrate"
EXAMPLE = "vae-edge recalibrate pump.vaeb last_week.csv -o pump-2.vaeb"


def run(
    bundle: _options.Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .vaeb file to write.", show_default=False)],
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[ROWS]", help="New normal rows; with --default-head they may be left out.", show_default=False
        ),
    ] = None,
    default_head: Annotated[
        str | None, typer.Option(help="Decide by this head of the bundle; default: as before.", show_default=False)
    ] = None,
    false_positive_rate: Annotated[
        float | None, typer.Option(help="What the thresholds stand for; default: as before.", show_default=False)
    ] = None,
    threshold_method: _options.ThresholdMethod = "conformal",
    release: Annotated[
        int | None, typer.Option(help="Of the new bundle; default: one more than before.", show_default=False)
    ] = None,
    compress: _options.Compress = None,
    compress_rows: _options.CompressRows = None,
    device: _options.Device = "cpu",
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    target: _options.Target = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """New thresholds from new normal rows, or another head to decide by: the same graphs, a higher release.

    Shows every threshold before and after, and which share of the new rows the old one called anomalies.
    """
    refuse_existing(output, force=force)
    with Bundle.open(bundle) as opened:
        spec = opened.manifest.input
        variants = len(opened.manifest.variants)
    options: dict[str, Any] = {"window": window, "stride": stride, "columns": columns, "size": image_size}
    if target is not None and path is None:
        raise OptionError("--target holds the targets of new rows: name the rows, too")
    rows = None if path is None else _rows.with_targets(_rows.read_for(spec, path, **options), target)
    further = None if compress_rows is None else np.ascontiguousarray(_rows.read_for(spec, compress_rows, **options).x)
    with _console.progress("recalibrating", variants * len(rows or ())) as step:
        outcome = recalibrate(
            bundle,
            output,
            rows=None if rows is None else np.ascontiguousarray(rows.x),
            condition=None if rows is None else rows.condition,
            default_head=default_head,
            false_positive_rate=false_positive_rate,
            method=threshold_method,  # type: ignore[arg-type]
            release=release,
            compress=compress,
            compress_rows=further,
            device=device,
            force=force,
            progress=step,
            **_session.isolation(),
        )
    if json:
        _console.print_json(NAME, outcome.to_dict())
    else:
        _show(outcome, compress)


def _show(outcome: Recalibration, compress: str | None) -> None:
    for warning in outcome.warnings:
        _console.note(f"warning: {warning}")
    rows = [
        (
            f"{c.variant} {c.head}",
            "-" if c.before is None else f"{c.before:.6g}",
            f"{c.after:.6g}",
            c.source,
            c.rows_after,
            "-" if c.above_before is None else f"{c.above_before:.2%}",
        )
        for c in outcome.changes
    ]
    if rows:
        _console.table(("threshold", "before", "after", "by", "rows", "new rows above the old one"), rows)
    if outcome.compression is not None:
        _tables.compression(outcome.compression, compress)
    _console.line(
        f"{outcome.path}: release {outcome.release} (was {outcome.release_before}); graphs and weights are the same; "
        f"it decides by {outcome.default_head}"
    )
