"""A model straight to its two functions, as an export takes it: a recipe first, then the proof of its halves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_edge_export.adapters import Decode, Encode, recipe_for
from vae_edge_export.halves.adapt import adapt as adapt_recipe
from vae_edge_export.halves.vae import AdaptedVae


def adapt(
    model: Any, example: Tensor, *, encode: Encode | None = None, decode: Decode | None = None, **options: Any
) -> AdaptedVae:
    return adapt_recipe(recipe_for(model, encode=encode, decode=decode), example, **options)
