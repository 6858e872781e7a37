"""From a model to a recipe: the user's callables, a known library's class, or the notebook's spellings.

Libraries are recognised by where a class comes from; none is imported here. One file per library,
each with ``recognise(model) -> Recipe | None``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from vae_edge_runtime.errors import AdaptError

from ..sources.weights import WRAPPERS
from . import compressai, diffusers, pyod, pythae
from .find import find, forward_of
from .recipe import BY_NAME, Decode, Encode, Recipe

_ADAPTERS = (diffusers, pythae, pyod, compressai)
"""In the order they are asked; the first that recognises the model makes the recipe."""

TORCHSCRIPT = (
    "the model is TorchScript (torch.jit.script, trace or load), whose methods PyTorch cannot export. It holds "
    "the weights: build the Python class and load them, model.load_state_dict(torch.jit.load(path).state_dict())"
)


def recipe_for(model: Any, *, encode: Encode | None = None, decode: Decode | None = None) -> Recipe:
    """How to call a model's halves.

    Args:
        model: a module, or what an adapter knows. It is not run.
        encode: the user's (model, x) -> mean and scale parameter, one code, or (indices, z_q); None: found.
        decode: the user's (model, z) -> x_hat, or a pair for a distribution with its own spread; None: found.

    Raises:
        AdaptError: nothing fits, or more than one thing does.

    Example:
        ``recipe_for(model, decode=lambda m, z: m.paint(z)).notes``
    """
    model, wrappers = _unwrapped(model)
    if encode is None and decode is None:
        for adapter in _ADAPTERS:
            recipe: Recipe | None = adapter.recognise(model)
            if recipe is not None:
                return dataclasses.replace(recipe, notes=(*wrappers, *recipe.notes))
    if not isinstance(model, nn.Module):
        raise AdaptError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    recipe = find(model, encode=encode, decode=decode)
    return dataclasses.replace(recipe, notes=(*wrappers, *recipe.notes))


def recipe_or_reason(model: Any, *, encode: Encode | None = None, decode: Decode | None = None) -> Recipe:
    """``recipe_for``; a module with a forward and without known names gets a recipe that holds the reason.

    Raises:
        AdaptError: as ``recipe_for``, where there is no forward that could be cut, or the user gave a half.
    """
    try:
        recipe = recipe_for(model, encode=encode, decode=decode)
    except AdaptError as error:
        inner, wrappers = _unwrapped(model)
        if encode is not None or decode is not None or not isinstance(inner, nn.Module):
            raise
        missing = error
    else:
        return dataclasses.replace(recipe, may_be_cut=encode is None and decode is None and not recipe.library)

    def absent(*_: Any) -> Any:
        raise missing

    recipe = Recipe(BY_NAME, inner, absent, absent, forward=forward_of, notes=wrappers, missing=missing)
    if isinstance(inner, torch.jit.ScriptModule):
        raise AdaptError(TORCHSCRIPT)
    if not recipe.can_run:
        raise missing
    return dataclasses.replace(recipe, may_be_cut=True)


def _unwrapped(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model inside what torch.compile and data parallelism put around it."""
    notes = []
    while (inner := WRAPPERS.get(type(model).__name__)) is not None and isinstance(model, nn.Module):
        notes.append(f"taken out of its {type(model).__name__}")
        model = getattr(model, inner)
    return model, tuple(notes)
