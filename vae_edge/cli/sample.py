"""``vae-edge sample``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _generated, _options, _rows

NAME = "sample"
EXAMPLE = "vae-edge sample pump.vaeb -n 16 --seed 7 -o samples.png"


def run(
    bundle: _options.Bundle,
    output: _generated.Output,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Rows to draw.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows on every device.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Scales the noise; 1 is the prior.")] = 1.0,
    condition: _generated.Condition = None,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH of the rows, of a bundle of free size, e.g. 256x384.", show_default=False),
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Draw new rows from the prior."""
    wanted = _rows.image_size(size, "size")
    with _generated.opened(
        bundle, output, force=force, device=device, variant=variant, allow_fallback=allow_fallback
    ) as vae:
        _rows.check_made(vae.manifest, number, wanted)
        given = _generated.one_condition(condition, vae.manifest.condition)
        rows = vae.sample(number, seed=seed, temperature=temperature, condition=given, size=wanted)
        _generated.write(NAME, vae, output, rows, force=force, json=json, seed=seed, temperature=temperature)
