"""``vae-edge interpolate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.scoring.inputs import check_latents
from vae_edge_runtime.text import counted

from . import _generated, _options, _rows

NAME = "interpolate"
EXAMPLE = "vae-edge interpolate pump.vaeb pictures/ --first 0 --last 7 -o line.png"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: _generated.Output,
    first: Annotated[int, typer.Option(min=0, help="Position of the row where the line begins.")] = 0,
    last: Annotated[int, typer.Option(min=0, help="Position of the row where the line ends.")] = 1,
    steps: Annotated[int, typer.Option(min=2, help="Rows to write, both ends included.")] = 9,
    condition: _generated.Condition = None,
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
    """Decode the straight line between the latents of two rows.

    The condition is --condition, else that of the first row. Of a bundle without an encoder, PATH holds latents (.npy).
    """
    with _generated.opened(
        bundle, output, force=force, device=device, variant=variant, allow_fallback=allow_fallback
    ) as vae:
        _rows.check_made(vae.manifest, steps)
        given = _generated.one_condition(condition, vae.manifest.condition)
        if vae.manifest.purpose == "decoder":
            latents = _generated.read_latents(path, vae.manifest)
            _check(path, latents, first, last)
            check_latents(latents[[first, last]], vae.manifest.latent.codebook)
            share = np.linspace(0, 1, steps, dtype=np.float32).reshape(-1, *[1] * (latents.ndim - 1))
            rows = vae.decode((1 - share) * latents[first] + share * latents[last], condition=given)
        else:
            raw = _rows.read_for(
                vae.manifest.input, path, window=window, stride=stride, columns=columns, size=image_size,
                any_size=vae.manifest,
            )  # fmt: skip
            _check(path, raw.x, first, last)
            if given is None and raw.condition is not None:
                given = np.ascontiguousarray(raw.condition[first])
            a, b = (np.ascontiguousarray(raw.x[at]) for at in (first, last))
            rows = vae.interpolate(a, b, steps=steps, condition=given)
        _generated.write(NAME, vae, output, rows, force=force, json=json, columns=steps, first=first, last=last)


def _check(path: Path, rows: NDArray[Any], first: int, last: int) -> None:
    if max(first, last) >= len(rows):
        raise DataError(f"{path} holds {counted(len(rows), 'row')}, counted from 0: there is no row {max(first, last)}")
