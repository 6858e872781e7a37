"""``vae-edge decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import _generated, _options

NAME = "decode"
EXAMPLE = "vae-edge decode pump.vaeb latents.npz -o rows.npy"


def run(
    bundle: _options.Bundle,
    latents: Annotated[Path, typer.Argument(help="Latents: .npy (n, *latent_shape), or the .npz of encode.")],
    output: _generated.Output,
    condition: _generated.Condition = None,
    tile: Annotated[
        int | None,
        typer.Option(min=1, help="Side in pixels of tiles to decode large rows in, e.g. 512.", show_default=False),
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Decode latents to rows: what encode wrote, or your own."""
    with _generated.opened(
        bundle, output, force=force, device=device, variant=variant, allow_fallback=allow_fallback
    ) as vae:
        z = _generated.read_latents(latents, vae.manifest)
        rows = vae.decode(z, condition=_generated.one_condition(condition, vae.manifest.condition), tile=tile)
        _generated.write(NAME, vae, output, rows, force=force, json=json)
