"""``vae-edge compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vae_edge_runtime.codec.container import described
from vae_edge_runtime.codec.writer import compress_rows
from vae_edge_runtime.storage.files import refuse_existing, staged
from vae_edge_runtime.text import counted

from . import _console, _options, _rows
from ._session import load

NAME = "compress"
EXAMPLE = "vae-edge compress pump.vaeb today.csv --triage --bound 0.01 -o day.vaez"

Bound = Annotated[
    str | None, typer.Option(help="A bound of the bundle, such as 0.1 or 2u (info lists them).", show_default=False)
]
Exact = Annotated[bool, typer.Option("--exact", help="Rows come back equal.")]
Latents = Annotated[
    bool, typer.Option("--latents", help="Rows come back as the model rebuilds them: an anomaly is lost.")
]
Triage = Annotated[
    bool, typer.Option("--triage", help="Rows that are no anomaly go as latents, with score and p-value.")
]


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .vaez file to write.", show_default=False)],
    bound: Bound = None,
    exact: Exact = False,
    latents: Latents = False,
    triage: Triage = False,
    scores: Annotated[bool, typer.Option("--scores", help="Send the score of each row along.")] = False,
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
    """Compress rows within a bound, exactly, or as latents; windows of a table do not overlap by default.

    The bundle needs tables: export or recalibrate it with --compress.
    """
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae:
        _console.header(vae.info)
        spec = vae.manifest.input
        length = _rows.window_length(spec, path, window)
        rows = _rows.read_for(
            spec, path, window=window, stride=length if stride is None else stride, columns=columns, size=image_size
        )
        how: dict[str, Any] = {"bound": bound, "exact": exact, "latents": latents, "triage": triage}
        with staged(output, replace=force) as new:
            size_bytes = compress_rows(vae, Path(new.path), rows.x, rows.condition, scores=scores or None, **how)
        info = vae.info
    stored = described(output)["rows_by_mode"].get("raw", 0) if len(spec.shape) <= 2 else 0
    if stored:
        _console.note(
            f"warning: {stored:,} of {len(rows):,} rows fit no table and are stored as they are: they are not finite, "
            "far from the rows of the calibration, or off their grid"
        )
    count, raw_bytes = len(rows), rows.x.nbytes
    summary = {"rows": count, "raw_bytes": raw_bytes, "size_bytes": size_bytes, "stored_rows": stored}
    if json:
        _console.print_json(NAME, {"info": info.to_dict(), "output": output, **summary})
        return
    saved = ""
    if count:
        times = f"{raw_bytes / size_bytes:.1f} times smaller than the {raw_bytes:,} bytes of the rows"
        saved = f", {size_bytes / count:.1f} a row, {times}"
    _console.line(f"{output}: {counted(count, 'row')} in {size_bytes:,} bytes{saved}")
