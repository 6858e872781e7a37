"""``vae-edge traverse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime import VAE
from vae_edge_runtime.errors import OptionError

from . import _generated, _options, _rows

NAME = "traverse"
EXAMPLE = "vae-edge traverse pump.vaeb --latents 0,1,2 -o latents.png"
_MOST = 16


def run(
    bundle: _options.Bundle,
    output: _generated.Output,
    latents: Annotated[
        str | None, typer.Option(help=f"Positions in the flat latent, with commas; default: the first {_MOST}.")
    ] = None,
    around: Annotated[
        Path | None, typer.Option(help="Latents (.npy or .npz of encode), the first is the start; default: 0.")
    ] = None,
    extent: Annotated[float, typer.Option(min=0.0, help="Each latent goes from -extent to +extent about it.")] = 3.0,
    steps: Annotated[int, typer.Option(min=2, max=100, help="Rows per latent.")] = 9,
    condition: _generated.Condition = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Change one latent at a time and decode: what each of them stands for.

    A .png has one line of pictures per latent.
    """
    with _generated.opened(
        bundle, output, force=force, device=device, variant=variant, allow_fallback=allow_fallback
    ) as vae:
        start, positions = _start(vae, around), _positions(vae, latents)
        _rows.check_made(vae.manifest, len(positions) * steps)
        z = np.repeat(start.reshape(1, -1), len(positions) * steps, axis=0)
        values = np.linspace(-extent, extent, steps, dtype=np.float32)
        for line, position in enumerate(positions):
            z[line * steps : (line + 1) * steps, position] += values
        given = _generated.one_condition(condition, vae.manifest.condition)
        rows = vae.decode(z.reshape(len(z), *vae.manifest.latent.shape), condition=given)
        moved: dict[str, Any] = {"latents": positions, "extent": extent, "steps": steps}
        _generated.write(NAME, vae, output, rows, force=force, json=json, columns=steps, **moved)


def _start(vae: VAE, around: Path | None) -> NDArray[Any]:
    """The latent in the middle of every line, flat.

    Raises:
        OptionError: a VQ model. DataError: no latent in the file, or one of another shape.
    """
    spec = vae.manifest.latent
    if spec.kind == "codes":
        raise OptionError("the codes of a VQ model have no order: there is nothing to traverse")
    size = int(np.prod(spec.shape))
    if around is None:
        return np.zeros(size, np.float32)
    given = _generated.read_latents(around, vae.manifest)
    if given.shape[1:] != tuple(spec.shape) or not len(given):
        raise OptionError(
            f"{around} holds {given.shape}; latents of this model are (n, {', '.join(map(str, spec.shape))})"
        )
    first: NDArray[Any] = given[0].reshape(-1)
    return first


def _positions(vae: VAE, text: str | None) -> list[int]:
    size = int(np.prod(vae.manifest.latent.shape))
    if text is None:
        return list(range(min(size, _MOST)))
    try:
        positions = [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"latents {text!r} are not whole numbers with commas") from None
    if wrong := [at for at in positions if not 0 <= at < size]:
        raise OptionError(f"there is no latent {wrong[0]}: this model has {size}, counted from 0")
    return positions
