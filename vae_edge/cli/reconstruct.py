"""``vae-edge reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vae_edge_runtime import load
from vae_edge_runtime.files import refuse_existing

from . import _console, _options, _rows, _tables
from ._arrays import SUFFIXES, write_rows

NAME = "reconstruct"
EXAMPLE = "vae-edge reconstruct pump.vaeb pictures/ -o pairs.png"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".npy, or .png (input and reconstruction in pairs).", show_default=False),
    ],
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
    """Decode the posterior mean of each row."""
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        raw = _rows.read_for(
            vae.manifest.input, path, window=window, stride=stride, columns=columns, size=image_size,
            any_size=vae.manifest,
        )  # fmt: skip
        x = np.ascontiguousarray(raw.x)
        rows = vae.reconstruct(x, condition=raw.condition)
        write_rows(output, rows, vae.manifest, partners=x, replace=force)
        if json:
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, "shape": list(rows.shape)})
