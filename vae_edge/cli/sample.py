"""``vae-edge sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_edge_runtime import load
from vae_edge_runtime._fs import refuse_existing

from . import _console, _options, _tables
from ._arrays import SUFFIXES, write_rows

NAME = "sample"
EXAMPLE = "vae-edge sample pump.vaeb -n 16 --seed 7 -o samples.png"


def run(
    bundle: _options.Bundle,
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".png (a grid, for images) or .npy.", show_default=False)
    ],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows to draw.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows on every device.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Scales the noise; 1 is the prior.")] = 1.0,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Draw new rows from the prior."""
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        rows = vae.sample(number, seed=seed, temperature=temperature)
        write_rows(output, rows, vae.manifest)
        if json:
            drawn = {"seed": seed, "temperature": temperature, "shape": list(rows.shape)}
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, **drawn})
