"""``vae-edge explain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge.maps import scale_of
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from . import _console, _options, _pictures, _rows, _tables
from ._session import load

NAME = "explain"
EXAMPLE = "vae-edge explain pump.vaeb today.csv --row 17 --json"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    row: Annotated[
        str | None,
        typer.Option(help="Id of a row, as score prints it; default: the highest score.", show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Elements and latents to name.")] = 5,
    picture: Annotated[Path | None, typer.Option(help="PNG of the map over the row.", show_default=False)] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    target: _options.Target = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Take the score of one row apart: terms, heads, the elements and latents that contribute most, regions."""
    if picture is not None:
        _tables.check_suffix(picture, (".png",))
        refuse_existing(picture, force=force)
    with load(bundle, device=device, variant=variant) as vae:
        _console.header(vae.info)
        options: dict[str, Any] = {"window": window, "stride": stride, "columns": columns, "size": image_size}
        rows = _rows.with_targets(_rows.read_to_score(vae, path, **options), target)
        index = _index(rows.row_ids, row)
        if index is None:
            scores = vae.score(np.ascontiguousarray(rows.x), condition=rows.condition).score
            if not np.isfinite(scores).any():
                raise OptionError(f"{path} holds no row that can be scored; name one with --row to see why")
            index = int(np.nanargmax(scores))
        condition = None if rows.condition is None else rows.condition[index : index + 1]
        anatomy = vae.explain(np.ascontiguousarray(rows.x[index : index + 1]), condition=condition)
        document = {"row_id": rows.row_ids[index], **anatomy.to_dict(0, top)}
        p_values = {head: float(s.p_value[0]) for head, s in anatomy.scores.heads.items() if s.threshold is not None}
        document["p_values"] = p_values
        if picture is not None:
            spec, shares = vae.manifest.input, anatomy.scores.map[0]
            pixels = _pictures.overlay(rows.x[index], shares, spec, scale_of(vae).top)
            write_atomic(picture, [_pictures.to_png(pixels)], replace=force)
    if json:
        _console.print_json(NAME, document)
    else:
        _show(document, vae.manifest.score.unit)


def _index(row_ids: Sequence[str], wanted: str | None) -> int | None:
    if wanted is None:
        return None
    if not row_ids:
        raise OptionError(f"there is no row {wanted!r}: the file holds none")
    if wanted not in row_ids:
        raise OptionError(f"there is no row {wanted!r}; they are called {row_ids[0]} to {row_ids[-1]}")
    return row_ids.index(wanted)


def _show(document: dict[str, Any], unit: str) -> None:
    kl = "" if document["kl"] is None else f" + KL {document['kl']:.6g}"
    _console.line(f"row {document['row_id']}: {document['status']}, score {document['score']:.6g} {unit}; "
                  f"reconstruction {document['reconstruction']:.6g}{kl}")  # fmt: skip
    if document["draws"]:
        _console.say(f"heads that sample took {document['draws']} draws")
    p_values = document["p_values"]
    heads = [(h, f"{s:.6g}", f"{p_values[h]:.4g}" if h in p_values else "-") for h, s in document["heads"].items()]
    _console.table(("head", "score", "p-value"), heads)
    _console.table(("element", "share"), [(e["name"], f"{e['share']:.1%}") for e in document["top"]])
    if document["latents"]:
        _console.table(("latent", "KL, nats"), [(e["index"], f"{e['kl']:.4g}") for e in document["latents"]])
    for region in document["regions"] or ():
        _console.line(f"region at {region['peak_at']}: area {region['area']}, peak {region['peak']:.4g}")
