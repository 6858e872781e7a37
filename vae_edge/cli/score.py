"""``vae-edge score``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge.data import Dataset
from vae_edge_runtime import VAE, CalibrationError, Scores, Status, load
from vae_edge_runtime._fs import refuse_existing, write_atomic
from vae_edge_runtime.errors import OptionError

from . import _console, _options, _pictures, _rows, _tables

NAME = "score"
EXAMPLE = "vae-edge score pump.vaeb today.csv --output scores.csv --maps maps/"

_ROWS_AT_ONCE = 1024


def run(
    bundle: _options.Bundle,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Folders of images, .npy, .npz, .csv or .parquet.", show_default=False),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".csv, .jsonl or .parquet; default: CSV on stdout.")
    ] = None,
    maps: Annotated[Path | None, typer.Option(help="Folder for a PNG per row: its map over it.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the calibrated one, in nats.")] = None,
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
    if output is not None:
        _tables.check_suffix(output, _tables.SUFFIXES)
        refuse_existing(output, force=force)
    if maps is not None and maps.exists() and any(maps.iterdir()) and not force:
        raise OptionError(f"{maps} is not empty; pass --force to write into it, or name another folder")
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae:
        spec = vae.manifest.input
        options: dict[str, Any] = {"window": window, "stride": stride, "columns": columns, "size": image_size}
        sources = [(path, _rows.read_for(spec, path, **options)) for path in paths]
        found: dict[str, list[Any]] = {}
        with _console.progress("scoring", sum(len(rows) for _, rows in sources)) as step:
            for path, rows in sources:
                prefix = f"{path}:" if len(paths) > 1 else ""
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    part = slice(start, start + _ROWS_AT_ONCE)
                    scores = vae.score(np.ascontiguousarray(rows.x[part]), maps=maps is not None, threshold=threshold)
                    ids = [prefix + row_id for row_id in rows.row_ids[part]]
                    for name, values in _columns(ids, scores).items():
                        found.setdefault(name, []).extend(values)
                    if maps is not None:
                        _write_maps(maps, rows, part, ids, scores, vae)
                    step(len(scores))
        found = found or {name: [] for name in _columns([], vae.score(np.empty((0, *spec.shape), spec.dtype)))}
        info, used = vae.info, _threshold(vae, threshold)
    _console.header(info)
    anomalies, unscored = sum(v is True for v in found["is_anomaly"]), sum(s != "ok" for s in found["status"])
    decided = "no threshold" if used is None else f"{anomalies} anomalies above {used:.6g} nats"
    _console.note(f"{len(found['score'])} rows, {decided}, {unscored} not scored")
    if output is not None:
        _tables.write_table(output, found)
    if json:
        summary = {"rows": len(found["score"]), "anomalies": anomalies, "not_scored": unscored, "threshold": used}
        listed = {} if output is not None else {"scores": _tables.to_rows(found)}
        _console.print_json(NAME, {"info": info.to_dict(), "output": output, **summary, **listed})
    elif output is None:
        typer.echo(_tables.to_csv(found), nl=False)


def _columns(ids: list[str], scores: Scores) -> dict[str, list[Any]]:
    try:
        decided: list[Any] = [bool(v) for v in scores.is_anomaly]
    except CalibrationError:
        decided = [None] * len(ids)
    try:
        p_values: list[Any] = scores.p_value.tolist()
    except CalibrationError:
        p_values = [None] * len(ids)
    return {
        "row_id": ids,
        "score": list(scores.score),
        "reconstruction": list(scores.reconstruction),
        "kl": list(scores.kl),
        "p_value": p_values,
        "is_anomaly": [d if ok else None for d, ok in zip(decided, scores.ok, strict=True)],
        "status": [Status(int(s)).name.lower() for s in scores.status],
    }


def _threshold(vae: VAE, override: float | None) -> float | None:
    calibration = vae.manifest.variants[vae.info.variant].calibration
    return override if override is not None else calibration.threshold if calibration else None


def _write_maps(folder: Path, rows: Dataset, part: slice, ids: list[str], scores: Scores, vae: VAE) -> None:
    """A PNG per scored row; the colour scale is one for all: the threshold spread over a tenth of the row."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, elements = vae.manifest.input, scores.map[0].size if len(scores) else 1
    calibration = vae.manifest.variants[vae.info.variant].calibration
    top = (
        10.0 * calibration.threshold / elements
        if calibration and calibration.threshold > 0
        else float(np.nanmax(scores.map))
    )
    for i, row_id in enumerate(ids):
        if scores.status[i] == Status.OK:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", row_id)
            pixels = _pictures.overlay(rows.x[part][i], scores.map[i], spec, top)
            write_atomic(folder / f"{name}.png", [_pictures.to_png(pixels)])
