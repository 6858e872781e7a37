"""``vae-edge unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_edge.unpacking import unpack

from . import _console, _options

NAME = "unpack"
EXAMPLE = "vae-edge unpack pump.vaeb -o pump"


def run(
    bundle: _options.Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.", show_default=False)],
    variant: _options.Variant = "auto",
    input_form: Annotated[
        str, typer.Option("--input", help="bundle, or float32-nchw: pictures as float32 with channels first.")
    ] = "bundle",
    json: _options.Json = False,
) -> None:
    """Plain files for other tools: standalone .onnx graphs, bundle.json, bundle.h, golden arrays and a README.

    Every graph is compared with the bundle before anything is written.
    """
    unpacked = unpack(bundle, output, variant=variant, input_form=input_form)
    if json:
        _console.print_json(NAME, unpacked.to_dict())
        return
    _console.table(("file", "bytes"), [(name, f"{size:,}") for name, size in unpacked.files.items()])
    _console.line(
        f"{output}: variant {unpacked.variant}; outputs differ from the bundle's by at most "
        f"{unpacked.worst_relative:.2g}, relative"
    )
