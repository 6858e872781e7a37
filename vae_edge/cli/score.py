"""``vae-edge score``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge.data.report import printable
from vae_edge.lakes import is_folder_of_tables
from vae_edge_runtime import VAE, Scores, Status, load
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError, StorageError
from vae_edge_runtime.files import refuse_existing, write_atomic
from vae_edge_runtime.scoring.score_table import score_columns, to_csv, to_rows

from . import _console, _folder, _options, _pictures, _rows, _tables

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
    maps: Annotated[Path | None, typer.Option(help="Folder for a PNG per row: its map over it.")] = None,
    heads: _options.Heads = None,
    threshold: Annotated[float | None, typer.Option(help="Of the default head, instead of the calibrated one.")] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Score rows: one line each with score, its parts, p-value, decision and status.

    A row that cannot be scored (NaN, infinity) keeps its line, with an empty score and its status.
    """
    folders = _folder.check(paths, output, {"maps": maps}) if any(map(is_folder_of_tables, paths)) else None
    if output is not None and folders is None:
        _tables.check_suffix(output, _tables.SUFFIXES)
        refuse_existing(output, force=force)
    if maps is not None:
        _check_maps_folder(maps, force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae:
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
        sources = [(path, _rows.read_for(spec, path, **options)) for path in paths]
        further = vae.heads if heads == "all" else _options.split_names(heads)
        table: dict[str, list[Any]] = {}
        pictures: set[str] = set()
        with _console.progress("scoring", sum(len(rows) for _, rows in sources)) as step:
            for path, rows in sources:
                prefix = f"{printable(path)}:" if len(paths) > 1 else ""
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    part = slice(start, start + _ROWS_AT_ONCE)
                    condition = None if rows.condition is None else rows.condition[part]
                    x = np.ascontiguousarray(rows.x[part])
                    scores = vae.score(
                        x, condition=condition, heads=further, maps=maps is not None, threshold=threshold
                    )
                    ids = [prefix + row_id for row_id in rows.row_ids[part]]
                    for name, values in score_columns(ids, scores).items():
                        table.setdefault(name, []).extend(values)
                    if maps is not None:
                        _write_maps(maps, pictures, x, ids, scores, vae)
                    step(len(scores))
        table = table or {name: [] for name in score_columns([], _no_scores(vae, further))}
        info, used, unit = vae.info, _threshold(vae, threshold), vae.manifest.score.unit
    anomalies, unscored = sum(v is True for v in table["is_anomaly"]), sum(s != "ok" for s in table["status"])
    decided = "no threshold" if used is None else f"{anomalies} anomalies above {used:.6g} {unit}"
    _console.note(f"{len(table['score'])} rows, {decided}, {unscored} not scored")
    if output is not None:
        _tables.write_table(output, table, replace=force)
    if json:
        summary = {"rows": len(table["score"]), "anomalies": anomalies, "not_scored": unscored, "threshold": used}
        listed = {} if output is not None else {"scores": to_rows(table)}
        _console.print_json(NAME, {"info": info.to_dict(), "output": output, **summary, **listed})
    elif output is None:
        _console.data(to_csv(table))


def _no_scores(vae: VAE, heads: Sequence[str]) -> Scores:
    """Scores of no rows at all, for their columns."""
    row, spec = vae.manifest.input, vae.manifest.condition
    condition = None if spec is None else np.empty((0, *spec.shape), spec.dtype)
    return vae.score(np.empty((0, *row.shape), row.dtype), condition=condition, heads=heads)


def _threshold(vae: VAE, override: float | None) -> float | None:
    calibration = vae.manifest.variants[vae.info.variant].calibration
    return override if override is not None else calibration.threshold if calibration else None


def _check_maps_folder(folder: Path, force: bool) -> None:
    require("PIL", extra="images", why="writing maps")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; --maps takes a folder")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OptionError(f"{folder} is not empty; pass --force to write into it, or name another folder")


def _write_maps(folder: Path, taken: set[str], x: NDArray[Any], ids: list[str], scores: Scores, vae: VAE) -> None:
    """A PNG per scored row; the colour scale is one for all: the threshold spread over a tenth of the row."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} could not be made: {error.strerror}") from error
    spec, elements = vae.manifest.input, scores.map[0].size if len(scores) else 1
    calibration = vae.manifest.variants[vae.info.variant].calibration
    top = (
        10.0 * calibration.threshold / elements
        if calibration and calibration.threshold > 0
        else float(np.nanmax(scores.map, initial=0))
    )
    for i, row_id in enumerate(ids):
        if scores.status[i] == Status.OK:
            pixels = _pictures.overlay(x[i], scores.map[i], spec, top)
            write_atomic(folder / f"{_picture_name(row_id, taken)}.png", [_pictures.to_png(pixels)])


def _picture_name(row_id: str, taken: set[str]) -> str:
    """A file name for a row that no other row has got, whatever the file system thinks of case."""
    plain = name = re.sub(r"[^A-Za-z0-9._-]+", "_", row_id)[-200:]
    count = 1
    while name.lower() in taken:
        count += 1
        name = f"{plain}~{count}"
    taken.add(name.lower())
    return name
