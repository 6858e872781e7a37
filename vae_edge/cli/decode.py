"""``vae-edge decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime import load
from vae_edge_runtime.array_files import array_of, is_npy, mapped_array, open_npz
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.files import refuse_existing
from vae_edge_runtime.format.manifest import Manifest

from . import _console, _options, _tables
from ._arrays import SUFFIXES, write_rows
from .sample import one_condition

NAME = "decode"
EXAMPLE = "vae-edge decode pump.vaeb latents.npz -o rows.npy"


def run(
    bundle: _options.Bundle,
    latents: Annotated[Path, typer.Argument(help="Latents: .npy (n, *latent_shape), or the .npz of encode.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".png (a grid, for images) or .npy.", show_default=False)
    ],
    condition: Annotated[
        str | None, typer.Option(help="Of a conditional model, one for all rows: a label, or numbers with commas.")
    ] = None,
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
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        z = read_latents(latents, vae.manifest)
        rows = vae.decode(z, condition=one_condition(condition, vae.manifest.condition), tile=tile)
        write_rows(output, rows, vae.manifest, replace=force)
        if json:
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, "shape": list(rows.shape)})


def read_latents(path: Path, manifest: Manifest) -> NDArray[Any]:
    """Latents of a file, in the type that ``decode`` takes.

    Raises:
        DataError: the file cannot be read, or holds no latents.
    """
    name = "indices" if manifest.latent.kind == "codes" else "mean"
    if is_npy(path):
        stored = mapped_array(path)
    else:
        with open_npz(path) as arrays:
            if name not in arrays.files:
                raise DataError(f"{path} holds no '{name}' (it has {', '.join(arrays.files)}): pass the .npz of encode")
            stored = array_of(path, arrays, name)
    wanted = np.dtype(np.int64 if manifest.latent.kind == "codes" else np.float32)
    if stored.dtype.kind not in ("iu" if wanted.kind == "i" else "fiu"):
        raise DataError(f"{path} holds {stored.dtype}; latents of this model are {wanted}")
    return np.asarray(stored, dtype=wanted)
