"""``vae-edge inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from vae_edge.data.options import in_model_order
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.text import counted

from . import _console, _options, _rows, _source
from ._calibration import rows_and_layout
from .export import given, numbers

if TYPE_CHECKING:
    from vae_edge_export import Inspection

NAME = "inspect"
EXAMPLE = "vae-edge inspect my_models.pump:build --weights pump.safetensors --shape 1,64,64"

_ROWS = 4


def run(
    source: _source.Source,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Of one row in the model's layout, comma separated; random rows are tried.", show_default=False
        ),
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Real rows to try, instead.", show_default=False)] = None,
    weights: _source.Weights = None,
    weights_key: _source.WeightsKey = None,
    trust_pickle: _source.TrustPickle = False,
    encode: _source.Encode = None,
    decode: _source.Decode = None,
    scale_form: _source.ScaleForm = None,
    codebook: _source.Codebook = None,
    likelihood: Annotated[str | None, typer.Option(help="As of export.", show_default=False)] = None,
    variance: _source.Variance = None,
    offset: _source.Offset = None,
    scale: _source.Scale = None,
    layout: _source.Layout = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
) -> None:
    """Show what an export would find in a model: halves, shapes, scale, sizes, operators, problems.

    Nothing is written. Exits with 1 where something stands in the way of an export.
    """
    if (shape is None) == (calibration is None):
        raise OptionError("say what a row is: --shape 1,28,28 for random rows, or --calibration PATH for real ones")
    of_a_file = {"offset": offset, "scale": scale, "layout": layout, "window": window, "stride": stride,
                 "columns": columns, "image-size": image_size}  # fmt: skip
    if calibration is None and (ignored := [name for name, value in of_a_file.items() if value is not None]):
        raise OptionError(
            f"--{ignored[0]} is of rows in a file, and --shape tries random ones in model units: leave it out, "
            "or pass --calibration"
        )
    opened = _source.open_source(source, weights, trust_pickle=trust_pickle, weights_key=weights_key)
    from vae_edge_export import ExportConfig, inspect_model

    options: dict[str, Any] = opened.export_options | given(
        likelihood=likelihood, variance=variance, offset=numbers(offset), scale=numbers(scale), layout=layout
    )
    condition = None
    if calibration is not None:
        reader: dict[str, Any] = {"window": window, "stride": stride, "image_shape": _rows.image_size(image_size)}
        reader["columns"] = in_model_order(_rows.split_columns(columns), options.get("names", ()))
        rows, condition, options = rows_and_layout(
            calibration, reader, options, opened.row, own_offset=offset is not None
        )
        rows, condition = rows[:_ROWS], None if condition is None else condition[:_ROWS]
    else:
        rows = np.random.default_rng(0).random((_ROWS, *_options.row_shape("--shape", shape or ""))).astype(np.float32)
        options = {key: value for key, value in options.items() if key not in ("layout", "offset", "scale", "names")}
    inspection = inspect_model(
        opened.model,
        rows,
        condition=condition,
        scale_form=scale_form,  # type: ignore[arg-type]
        codebook=codebook,
        config=ExportConfig(**options),
        **_source.halves(encode, decode),
    )
    if json:
        _console.print_json(NAME, inspection.to_dict())
    else:
        _show(inspection)
    if not inspection.ok:
        raise typer.Exit(1)


def _show(inspection: Inspection) -> None:
    for line in inspection.evidence or ("not recognised",):
        _console.line(line)
    _console.line(f"{inspection.model}: {inspection.parameters:,} parameters")
    if inspection.latent:
        latent = inspection.latent
        extra = f", {latent['codebook']} codes" if latent["codebook"] else ""
        kl = "KL in closed form" if latent["has_kl"] else "no KL"
        _console.say(f"latent: {latent['kind']} {list(latent['shape'])}, {latent['size']} numbers{extra}, {kl}")
    if inspection.graphs:
        rows = [
            (
                name,
                _shapes(g.inputs),
                _shapes(g.outputs),
                f"{g.flops / 1e6:.3g}",
                "-" if g.weights is None else f"{g.weights:,}",
                "-" if g.nodes is None else str(g.nodes),
                g.exporter or "FAILED",
            )
            for name, g in inspection.graphs.items()
        ]
        _console.table(("graph", "in", "out", "MFLOP/row", "weights", "nodes", "exporter"), rows)
    for problem in inspection.problems:
        _console.say(f"PROBLEM {_console.refusal(problem)}")
    _console.say(
        "nothing stands in the way of an export" if inspection.ok else counted(len(inspection.problems), "problem")
    )


def _shapes(shapes: dict[str, tuple[int, ...]]) -> str:
    return " ".join(f"{name}{list(shape)}" for name, shape in shapes.items())
