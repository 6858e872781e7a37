"""``vae-edge interpolate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vae_edge_runtime import load
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.files import refuse_existing

from . import _console, _options, _rows, _tables
from ._arrays import SUFFIXES, write_rows

NAME = "interpolate"
EXAMPLE = "vae-edge interpolate pump.vaeb pictures/ --first 0 --last 7 -o line.png"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".png (one line of pictures) or .npy.", show_default=False)
    ],
    first: Annotated[int, typer.Option(min=0, help="Position of the row where the line begins.")] = 0,
    last: Annotated[int, typer.Option(min=0, help="Position of the row where the line ends.")] = 1,
    steps: Annotated[int, typer.Option(min=2, help="Rows to write, both ends included.")] = 9,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Decode the straight line between the latents of two rows; the condition is that of the first."""
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        _rows.check_made(vae.manifest, steps)
        raw = _rows.read_for(
            vae.manifest.input, path, window=window, stride=stride, columns=columns, size=image_size,
            any_size=vae.manifest,
        )  # fmt: skip
        if max(first, last) >= len(raw.x):
            raise DataError(f"{path} holds {len(raw.x)} rows, counted from 0: there is no row {max(first, last)}")
        condition = None if raw.condition is None else np.ascontiguousarray(raw.condition[first])
        a, b = (np.ascontiguousarray(raw.x[at]) for at in (first, last))
        rows = vae.interpolate(a, b, steps=steps, condition=condition)
        write_rows(output, rows, vae.manifest, columns=steps, replace=force)
        if json:
            line = {"first": first, "last": last, "shape": list(rows.shape)}
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, **line})
