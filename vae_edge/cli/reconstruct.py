"""``vae-edge reconstruct``."""

from __future__ import annotations

import numpy as np

from . import _generated, _options, _rows

NAME = "reconstruct"
EXAMPLE = "vae-edge reconstruct pump.vaeb pictures/ -o pairs.png"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: _generated.Output,
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
    """Decode the posterior mean of each row. A .png shows each input beside its reconstruction."""
    with _generated.opened(
        bundle, output, force=force, device=device, variant=variant, allow_fallback=allow_fallback
    ) as vae:
        raw = _rows.read_for(
            vae.manifest.input, path, window=window, stride=stride, columns=columns, size=image_size,
            any_size=vae.manifest,
        )  # fmt: skip
        x = np.ascontiguousarray(raw.x)
        rows = vae.reconstruct(x, condition=raw.condition)
        _generated.write(NAME, vae, output, rows, force=force, json=json, partners=x)
