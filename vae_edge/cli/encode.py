"""``vae-edge encode``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime import Posterior, Status
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from . import _console, _options, _rows, _tables
from ._session import load

NAME = "encode"
EXAMPLE = "vae-edge encode pump.vaeb today.csv -o latents.npz"

_SUFFIXES = (".npz", *_tables.SUFFIXES)


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help=".npz (mean, logvar or indices, status) or .csv, .jsonl, .parquet.",
            show_default=False,
        ),
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
    """Write the posterior of each row: mean and log variance of every latent, or its indices (VQ)."""
    _tables.check_suffix(output, _SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        rows = _rows.read_for(
            vae.manifest.input, path, window=window, stride=stride, columns=columns, size=image_size,
            any_size=vae.manifest,
        )  # fmt: skip
        posterior = vae.encode(np.ascontiguousarray(rows.x), condition=rows.condition)
        if output.suffix.lower() == ".npz":
            buffer = io.BytesIO()
            arrays: dict[str, Any] = _parts(posterior) | {"status": posterior.status}
            np.savez(buffer, **arrays)
            write_atomic(output, [buffer.getvalue()], replace=force)
        else:
            _tables.write_table(output, _columns(rows.row_ids, posterior), replace=force)
        if json:
            shape = list(posterior.mean.shape)
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, "shape": shape})


def _columns(ids: Sequence[str], posterior: Posterior) -> dict[str, Any]:
    n = len(posterior.mean)
    columns: dict[str, Any] = {"row_id": ids}
    for name, values in _parts(posterior).items():
        flat = values.reshape(n, int(np.prod(values.shape[1:])))  # -1 would fail where there is no row
        columns |= {f"{name}_{i}": flat[:, i] for i in range(flat.shape[1])}
    columns["status"] = [Status(int(s)).name.lower() for s in posterior.status]
    return columns


def _parts(posterior: Posterior) -> dict[str, NDArray[Any]]:
    """What there is of mean, logvar and indices."""
    parts = {"mean": posterior.mean, "logvar": posterior.logvar, "indices": posterior.indices}
    return {name: values for name, values in parts.items() if values is not None}
