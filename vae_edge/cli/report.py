"""``vae-edge report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge.report import Findings, find, render
from vae_edge.report.wording import read_texts
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from . import _console, _labelled, _options, _rows, _tables
from ._session import load
from .evaluate import Truth, truth_of

NAME = "report"
EXAMPLE = "vae-edge report parts.vaeb today/ -o report.html"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .html file to write.", show_default=False)],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels, 0 normal and 1 anomaly: .npy, .npz, .csv or .parquet.", show_default=False),
    ] = None,
    label_column: _labelled.LabelColumn = None,
    class_column: _labelled.ClassColumn = None,
    normal: _labelled.Normal = None,
    head: Annotated[
        str | None, typer.Option(help="Decide by this head of the bundle; default: its own.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another bundle, judged on the same rows: before and after.", show_default=False)
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Of each kind: worst, nearest to the threshold, best.")] = 6,
    texts: Annotated[
        Path | None, typer.Option(help="Words of the page in another language, as JSON.", show_default=False)
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """One HTML page about rows and what the bundle makes of them, to be handed on: it needs no network.

    Decisions and rates with intervals, the worst, borderline and best pictures or the series, the threshold and its
    uncertainty, curves where there are labels, drift since the calibration, and how to read a p-value.
    """
    require("jinja2", extra="report", why=f"vae-edge {NAME}")
    require("sklearn", extra="report", why=f"vae-edge {NAME}")
    _tables.check_suffix(output, (".html",))
    refuse_existing(output, force=force)
    words = read_texts(texts)
    options: dict[str, Any] = {"window": window, "stride": stride, "columns": columns, "size": image_size}
    with load(bundle, device=device, variant=variant) as vae:
        _console.header(vae.info)
        spec = vae.manifest.input
        rows = _rows.read_to_score(vae, path, **options)
        if not len(rows):
            raise OptionError(f"{path} holds no rows to report about")
        cut = _rows.window_length(spec, path, window)
        truth: Truth | None = None
        if labels is not None or label_column is not None or normal is not None or rows.labels is not None:
            truth = truth_of(rows, path, labels, label_column, class_column, normal, cut, stride or 1)
        elif class_column is not None:
            raise OptionError("--class-column names kinds of labelled anomalies: pass --labels or --label-column, too")
        known: dict[str, Any] = {"condition": rows.condition}
        if truth is not None:
            known |= {"labels": truth.labels, "kinds": truth.classes}
        with _console.progress("scoring", len(rows) * (1 if compare is None else 2)) as step:
            findings = find(vae, rows.x, rows.row_ids, head=head, progress=step, **known)
            other: tuple[str, Findings] | None = None
            if compare is not None:
                with load(compare, device=device) as second:
                    if (second.manifest.input.shape, second.manifest.input.dtype) != (spec.shape, spec.dtype):
                        raise OptionError(f"{compare} takes rows of another shape or dtype than {bundle}")
                    other = compare.name, find(second, rows.x, rows.row_ids, progress=step, **known)
        page = render(
            vae, rows.x, findings, source=path.name, condition=rows.condition, other=other, texts=words,
            pictures=pictures,
        ).encode()  # fmt: skip
    for findings_of in (findings, *(() if other is None else other[1:])):
        if findings_of.warning is not None:
            _console.note(f"note: {findings_of.warning}")
    write_atomic(output, [page], replace=force)
    anomalies, scored = int(findings.flagged.sum()), int(np.count_nonzero(findings.ok))
    if json:
        figures = {"rows": len(rows), "scored": scored, "anomalies": anomalies, "head": findings.head}
        _console.print_json(NAME, {"output": output, "bytes": len(page), **figures})
    else:
        _console.line(f"{output}: {len(page):,} bytes; {anomalies} of {scored} rows are anomalies by {findings.head}")
