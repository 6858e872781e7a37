"""``vae-edge sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime import load
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.files import refuse_existing
from vae_edge_runtime.format.specs import ConditionSpec, element_count

from . import _console, _options, _rows, _tables
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
    condition: Annotated[
        str | None, typer.Option(help="Of a conditional model, one for all rows: a label, or numbers with commas.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH of the rows, of a bundle of free size, e.g. 256x384.", show_default=False),
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    isolate: _options.Isolate = False,
    deadline: _options.Deadline = None,
    max_memory: _options.MaxMemory = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Draw new rows from the prior."""
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    limits, wanted = _options.isolation(isolate, deadline, max_memory), _rows.image_size(size, "size")
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, **limits) as vae:
        _console.header(vae.info)
        _rows.check_made(vae.manifest, number, wanted)
        given = one_condition(condition, vae.manifest.condition)
        rows = vae.sample(number, seed=seed, temperature=temperature, condition=given, size=wanted)
        write_rows(output, rows, vae.manifest, replace=force)
        if json:
            drawn = {"seed": seed, "temperature": temperature, "shape": list(rows.shape)}
            _console.print_json(NAME, {"info": vae.info.to_dict(), "output": output, **drawn})


def one_condition(text: str | None, spec: ConditionSpec | None) -> NDArray[Any] | None:
    """``3`` or ``0.5,1,0`` to one condition."""
    if text is None or spec is None:
        return None if text is None else np.empty(0, np.float32)  # the session says that it takes none
    try:
        numbers = [int(part) if spec.dtype == "int64" else float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"condition {text!r} is not {'a whole number' if spec.dtype == 'int64' else 'numbers'}"
        ) from None
    if len(numbers) != element_count(spec.shape):
        raise OptionError(
            f"condition {text!r} holds {len(numbers)} numbers, this model takes {element_count(spec.shape)}"
        )
    return np.array(numbers, dtype=spec.dtype).reshape(spec.shape)
