"""What the commands that write decoded rows share: sample, reconstruct, decode, interpolate and traverse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge_runtime import VAE
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.specs import ConditionSpec, element_count
from vae_edge_runtime.storage.array_files import array_of, is_npy, mapped_array, open_npz
from vae_edge_runtime.storage.files import refuse_existing
from vae_edge_runtime.text import counted

from . import _console, _tables
from ._arrays import SUFFIXES, write_rows
from ._session import load

Output = Annotated[
    Path, typer.Option("--output", "-o", help=".png (a grid of pictures, for images) or .npy.", show_default=False)
]
Condition = Annotated[
    str | None, typer.Option(help="Of a conditional model, one for all rows: a label, or numbers with commas.")
]


@contextmanager
def opened(
    bundle: Path,
    output: Path,
    *,
    force: bool,
    device: str,
    variant: str,
    allow_fallback: bool,
) -> Iterator[VAE]:
    """A session whose rows will be written to ``output``; what runs is said on stderr.

    Raises:
        OptionError: the ending of ``output`` is another, or the file exists. Others: as ``load``.
    """
    _tables.check_suffix(output, SUFFIXES)
    refuse_existing(output, force=force)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback) as vae:
        _console.header(vae.info)
        yield vae


def write(
    command: str,
    vae: VAE,
    output: Path,
    rows: NDArray[Any],
    *,
    force: bool,
    json: bool,
    partners: NDArray[Any] | None = None,
    columns: int | None = None,
    **facts: Any,
) -> None:
    """Write rows, and print one JSON document where it is asked for.

    Args:
        partners, columns: as in ``write_rows``. facts: of the call, for the document.
    """
    write_rows(output, rows, vae.manifest, partners, columns=columns, replace=force)
    if json:
        document = {"info": vae.info.to_dict(), "output": output, **facts, "shape": list(rows.shape)}
        _console.print_json(command, document)


def one_condition(text: str | None, spec: ConditionSpec | None) -> NDArray[Any] | None:
    """``3`` or ``0.5,1,0`` to one condition.

    Raises:
        OptionError: the text holds other numbers than one condition of the model.
    """
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
            f"condition {text!r} holds {counted(len(numbers), 'number')}, this model takes {element_count(spec.shape)}"
        )
    return np.array(numbers, dtype=spec.dtype).reshape(spec.shape)


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
    if stored.ndim < 2:
        raise DataError(f"{path} has shape {stored.shape}; latents of this model are (n, *latent_shape)")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused where it is decoded
        return np.asarray(stored, dtype=wanted)
