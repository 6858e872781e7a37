"""VQ models whose encode gives indices alone: their quantised latents are looked up in the codebook."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from .normalise import Encoded


def with_codebook(recipe: Recipe, module: nn.Module, encoded: Encoded, codes: int | None) -> Recipe | None:
    """A recipe whose encode gives (indices, z_q), where it gave whole numbers alone; None where it did not.

    Args:
        codes: in the codebook, as the user says; it may be a weight (codes, values) of the model.

    Raises:
        AdaptError: there is no codebook, or more than one could be meant.
    """
    if encoded.code is None or encoded.code.is_floating_point() or encoded.code.dtype == torch.bool:
        return None
    name = _codebook(module, codes)
    encode = recipe.encode

    def with_latents(m: Any, *values: Tensor) -> tuple[Tensor, Tensor]:
        given = encode(m, *values)
        indices = given[0] if isinstance(given, (tuple, list)) else given
        return indices, nn.functional.embedding(indices, _at(m, name))

    note = f"encode gives indices alone; their latents are looked up in '{name}'"
    return dataclasses.replace(recipe, encode=with_latents, notes=(*recipe.notes, note))


def _at(module: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    table: Tensor = getattr(module.get_submodule(path), last)
    return table


def _codebook(module: nn.Module, codes: int | None) -> str:
    """Name of the table of codes: the weight of the one embedding, or of the one weight with so many rows."""
    tables = {f"{name}.weight".lstrip("."): part.weight for name, part in module.named_modules()
              if isinstance(part, nn.Embedding)}  # fmt: skip
    if codes is not None:
        tables = {n: t for n, t in (*module.named_parameters(), *module.named_buffers()) if t.ndim == 2}
        tables = {name: table for name, table in tables.items() if table.shape[0] == codes}
    if len(tables) != 1:
        named = f" ({', '.join(tables)})" if tables else ""
        which = f"{len(tables)} tables of {codes} codes" if codes is not None else f"{len(tables)} embeddings"
        raise AdaptError(
            f"encode gives whole numbers alone, and the model has {which}{named}: say how many codes there are with "
            "codebook=, or give the latents too, encode=lambda m, x: (indices, z_q)"
        )
    return next(iter(tables))
