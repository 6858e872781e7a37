"""``vae-edge decompress``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge.lakes.writing import file_chunks
from vae_edge_runtime import Decompressed, Status
from vae_edge_runtime.codec.unpacked import Counted, write_array_file
from vae_edge_runtime.format.specs import InputSpec, element_count
from vae_edge_runtime.storage.files import refuse_existing, write_atomic
from vae_edge_runtime.text import counted

from . import _console, _options, _tables
from ._session import load

NAME = "decompress"
EXAMPLE = "vae-edge decompress pump.vaeb day.vaez -o day.csv"

_SUFFIXES = (".npy", ".npz", *_tables.SUFFIXES)


def run(
    bundle: _options.Bundle,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .vaez file.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".npz, .csv, .jsonl or .parquet; .npy has rows alone.", show_default=False),
    ],
    device: _options.Device = "auto",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    allow_torn: Annotated[
        bool, typer.Option("--allow-torn", help="Take the whole blocks of a file without its end mark.")
    ] = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Rows of a .vaez file, with kind, bound, score and p-value of each.

    A file without its end mark is refused: it is still being written, or its end was lost.
    """
    _tables.check_suffix(output, _SUFFIXES)
    refuse_existing(output, force=force)
    # Only fp32 decodes within the bound, whatever "auto" or tune would choose.
    with (
        load(bundle, device=device, variant="fp32", allow_fallback=allow_fallback, threads=threads) as vae,
        vae.decompress_file(path, allow_torn=allow_torn) as blocks,
    ):
        _console.header(vae.info)
        taken = Counted(blocks)
        if output.suffix.lower() in (".npy", ".npz"):
            write_array_file(output, taken, replace=force)
        else:
            parts = table_parts(taken, vae.manifest.input)
            write_atomic(output, file_chunks(output, parts, nan_is_missing=False), replace=force)
        complete, torn_bytes = blocks.frames.complete, blocks.frames.torn_bytes
    if not complete:
        _console.note(
            f"warning: {path} has no end mark: it is still being written, or its end was lost; {torn_bytes} bytes of "
            f"a torn block were dropped"
        )
    if json:
        summary = {"rows": taken.rows, "kinds": taken.kinds, "complete": complete, "torn_bytes": torn_bytes}
        _console.print_json(NAME, {"output": output, **summary})
    else:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(taken.kinds.items()))
        _console.line(f"{output}: {counted(taken.rows, 'row')} ({listed or 'none'})")


_LINES_AT_ONCE = 4096
"""Of a table, as Python objects: ten times what they take as numbers."""


def table_parts(blocks: Counted, spec: InputSpec) -> Iterator[dict[str, NDArray[Any]]]:
    """A table in pieces, of which there is at least one."""
    yield table_columns(blocks.nothing, spec)
    for block in blocks:
        columns = table_columns(block, spec, first=blocks.rows - len(block))
        for start in range(0, len(columns["status"]), _LINES_AT_ONCE):
            yield {name: values[start : start + _LINES_AT_ONCE] for name, values in columns.items()}


def table_columns(rows: Decompressed, spec: InputSpec, first: int = 0) -> dict[str, NDArray[Any]]:
    """Columns of a table: features first, then what was sent of each row; a window has a line for each step.

    Args:
        rows: of a block. spec: of the model. first: the position of the first of these rows in the file.
    """
    count = spec.shape[-1]
    windowed = spec.layout == "time_features"
    steps = spec.shape[0] if windowed else 1
    flat = rows.rows.reshape(len(rows) * steps, element_count(spec.shape) // steps)  # -1 would fail where none came
    names = spec.names if len(spec.names) == flat.shape[1] == count else [f"x{i}" for i in range(flat.shape[1])]
    columns: dict[str, Any] = {name: flat[:, i] for i, name in enumerate(names)}
    sent: dict[str, Any] = {
        "row": np.arange(first, first + len(rows)),
        "kind": rows.kind,
        "bound": rows.bound,
        "score": rows.score,
        "p_value": rows.p_value,
        "status": np.array([Status(int(s)).name.lower() for s in rows.status], dtype=str),
    }
    for name, values in sent.items():
        columns[name if name not in columns else f"sent_{name}"] = np.repeat(values, steps)
    return columns
