"""``vae-edge score``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge.data.report import printable
from vae_edge.lakes import is_folder_of_tables
from vae_edge_runtime import VAE, Scores
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import unit_of
from vae_edge_runtime.scoring.score_table import score_columns, to_csv, to_rows
from vae_edge_runtime.storage.files import refuse_existing
from vae_edge_runtime.text import counted

from . import _console, _folder, _maps, _options, _rows, _tables
from ._session import load

NAME = "score"
EXAMPLE = "vae-edge score pump.vaeb today.csv --output scores.csv --maps maps/"

_ROWS_AT_ONCE = 1024


def run(
    bundle: _options.Bundle,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Pictures, .npy, .npz, .csv or .parquet; or one folder of tables.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".csv, .jsonl, .parquet or a folder; default: CSV on stdout."),
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Folder for a PNG per row: input, reconstruction and map.", show_default=False)
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="Where maps of pictures pass the threshold of peak: .csv, .jsonl or .parquet.", show_default=False
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Decide by this head of the bundle; default: its own.", show_default=False)
    ] = None,
    heads: _options.Heads = None,
    threshold: Annotated[
        float | None, typer.Option(help="Of the head that decides, instead of the calibrated one.", show_default=False)
    ] = None,
    false_positive_rate: Annotated[
        float | None,
        typer.Option(help="Take the threshold for this rate from the same calibration.", show_default=False),
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    target: _options.Target = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Score rows: one line each with score, its parts, p-value, decision and status.

    A row that cannot be scored (NaN, infinity) keeps its line, with an empty score and its status. NaN is a missing
    value where the model was exported with --missing-values.
    """
    refused = {
        "target": target,
        "maps": maps,
        "regions": regions,
        "head": head,
        "false-positive-rate": false_positive_rate,
    }
    folders = _folder.check(paths, output, refused) if any(map(is_folder_of_tables, paths)) else None
    if output is not None and folders is None:
        _tables.check_suffix(output, _tables.SUFFIXES)
        refuse_existing(output, force=force)
    if regions is not None:
        _tables.check_suffix(regions, _tables.SUFFIXES)
        refuse_existing(regions, force=force)
    if maps is not None:
        _maps.check_folder(maps, force=force)
    if threshold is not None and false_positive_rate is not None:
        raise OptionError("--threshold and --false-positive-rate both say what is an anomaly: pass one")
    with (
        load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae,
        _maps.staged(maps) as made,
    ):
        _console.header(vae.info)
        spec = vae.manifest.input
        options: dict[str, Any] = {"window": window, "stride": stride, "columns": columns, "size": image_size}
        if folders is not None:
            further = vae.heads if heads == "all" else _options.split_names(heads)
            _folder.run(
                vae, *folders, heads=further, threshold=threshold, empty=lambda: _no_scores(vae, further),
                reading=options, force=force, json=json,
            )  # fmt: skip
            return
        sources = [(path, _rows.read_to_score(vae, path, **options)) for path in paths]
        if target is not None:
            if len(sources) != 1:
                raise OptionError("--target holds the targets of one file: name one PATH")
            ((path, rows),) = sources
            sources = [(path, _rows.with_targets(rows, target))]
        decides = vae.heads[0] if head is None else head
        further = vae.heads if heads == "all" else (decides, *_options.split_names(heads))
        own_threshold, warning = threshold is not None, None
        if false_positive_rate is not None:
            threshold = vae.threshold_for(false_positive_rate, head=decides)
        elif threshold is None and decides in vae.calibrations:
            threshold = vae.calibrations[decides].threshold
        files = _maps.MapFiles(vae, made, regions=regions is not None) if made or regions else None
        table: dict[str, list[Any]] = {}
        with _console.progress("scoring", sum(len(rows) for _, rows in sources)) as step:
            for path, rows in sources:
                prefix = f"{printable(path)}:" if len(paths) > 1 else ""
                at_once = _ROWS_AT_ONCE if spec.overlap is None else 1  # a picture of many tiles may fill the memory
                for start in range(0, len(rows), at_once):
                    part = slice(start, start + at_once)
                    condition = None if rows.condition is None else rows.condition[part]
                    x = np.ascontiguousarray(rows.x[part]) if spec.overlap is None else rows.x[part]
                    scores = vae.score(x, condition=condition, heads=further, maps=files is not None)
                    warning = warning or (None if own_threshold else scores.heads[decides].warning)
                    scores = scores.decided_by(decides, threshold)
                    ids = [prefix + row_id for row_id in rows.row_ids[part]]
                    for name, values in score_columns(ids, scores).items():
                        table.setdefault(name, []).extend(values)
                    if files is not None:
                        files.add(x, condition, ids, scores, decides)
                    step(len(scores))
                    del scores  # its map may be as large as a picture; the next one comes beside it else
        table = table or {name: [] for name in score_columns([], _no_scores(vae, further).decided_by(decides))}
        info, unit = vae.info, unit_of(vae.manifest.score, decides)
        if output is not None:
            _tables.write_table(output, table, replace=force)
        if regions is not None and files is not None:
            _tables.write_table(regions, files.regions, replace=force)
    anomalies, unscored = sum(v is True for v in table["is_anomaly"]), sum(s != "ok" for s in table["status"])
    decided = (
        "no threshold"
        if threshold is None
        else f"{counted(anomalies, 'anomaly', 'anomalies')} above {threshold:.6g} {unit}"
    )
    decided += f", by {decides}" if head is not None else ""
    _console.note(f"{counted(len(table['score']), 'row')}, {decided}, {unscored} not scored")
    if warning is not None:
        _console.note(f"note: {warning}")
    if json:
        summary = {
            "rows": len(table["score"]), "anomalies": anomalies, "not_scored": unscored, "threshold": threshold,
            "head": decides,
        }  # fmt: skip
        listed = {} if output is not None else {"scores": to_rows(table)}
        _console.print_json(NAME, {"info": info.to_dict(), "output": output, **summary, **listed})
    elif output is None:
        _console.data(to_csv(table))


def _no_scores(vae: VAE, heads: Sequence[str]) -> Scores:
    """Scores of no rows at all, for their columns."""
    row, spec = vae.manifest.input, vae.manifest.condition
    condition = None if spec is None else np.empty((0, *spec.shape), spec.dtype)
    return vae.score(np.empty((0, *row.shape), row.dtype), condition=condition, heads=heads)
