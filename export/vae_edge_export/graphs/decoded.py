"""A first look at what the decoder returns, before a likelihood is settled."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..config import ExportConfig
from ..halves.causes import tensors_of
from ..halves.door import guarded
from ..halves.model_copy import private_copy
from ..halves.normalise import read_encoded
from ..tracing.torch_state import kept_rng, slow_attention
from .families import with_family


def with_named_family(recipe: Recipe, config: ExportConfig, feeds: tuple[Tensor, ...]) -> tuple[Recipe, ExportConfig]:
    """Recipe and config with the likelihood that the decoder's own distribution names, if it returns one.

    Args:
        feeds: x (n, *input_shape) in model units, and its condition if any.

    Raises:
        AdaptError: the family has no likelihood here.
    """
    if recipe.library:
        return recipe, config
    looked_at = guarded(recipe)
    with torch.no_grad(), kept_rng(), slow_attention():
        try:
            module = private_copy(recipe.module)
            decoded = _decoded(looked_at, module, feeds)
        except AdaptError:  # adapt() meets the same, and says it in full
            return recipe, config
        recipe, config, said = with_family(recipe, config, decoded, feeds[0])
    return (dataclasses.replace(recipe, notes=(*recipe.notes, said)) if said else recipe), config


def _decoded(recipe: Recipe, module: Any, feeds: tuple[Tensor, ...]) -> Any:
    """What ``decode`` gives for the first tensor ``encode`` gives, or for all of a hierarchical model."""
    encoded = read_encoded(recipe.encode(module, *(feed.clone() for feed in feeds)))
    tensors = tensors_of(encoded)
    latent: Any = [mean for mean, _ in encoded.pairs] if len(encoded.pairs) > 1 else tensors[0].contiguous()
    return recipe.decode(module, latent, *feeds[1:])
