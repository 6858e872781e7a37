"""From a model to a recipe: the user's callables, a known library's class, or the notebook's spellings.

Libraries are recognised by where a class comes from; none is imported here. One file per library,
each with ``recognise(model) -> Recipe | None``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vae_edge_runtime.errors import AdaptError

from . import compressai, diffusers, pyod, pythae
from .find import find
from .recipe import Decode, Encode, Prior, Recipe

__all__ = ["Decode", "Encode", "Prior", "Recipe", "recipe_for"]

_ADAPTERS = (diffusers, pythae, pyod, compressai)


def recipe_for(model: Any, *, encode: Encode | None = None, decode: Decode | None = None) -> Recipe:
    """How to call a model's halves.

    Raises:
        AdaptError: nothing fits, or more than one thing does.
    """
    if encode is None and decode is None:
        for adapter in _ADAPTERS:
            recipe: Recipe | None = adapter.recognise(model)
            if recipe is not None:
                return recipe
    if not isinstance(model, nn.Module):
        raise AdaptError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    return find(model, encode=encode, decode=decode)
