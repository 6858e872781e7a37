"""Names first, the cut second: a model whose halves have no known names is cut in two where it draws its noise."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS, LikelihoodName

from ..adapters import Recipe
from ..halves.adapt import adapt
from ..halves.door import reading
from ..halves.model_copy import private_copy
from ..halves.vae import AdaptedVae
from ..tracing.torch_state import kept_rng, slow_attention
from .cut_model import cut_recipe
from .reasons import NotCut


def adapt_or_cut(
    recipe: Recipe,
    example: Tensor,
    *,
    condition: Tensor | None = None,
    likelihood: LikelihoodName = "mse",
    learned_variance: bool = False,
    **options: Any,
) -> tuple[Recipe, AdaptedVae]:
    """``adapt``; where names do not lead to two proven halves, the model is cut at its noise and adapted then.

    Args:
        recipe: with ``missing`` where no names were found.
        example, condition, likelihood, learned_variance, options: as ``adapt``.

    Returns:
        The recipe that was adapted, and what came of it.

    Raises:
        AdaptError: neither way leads anywhere; the message has both reasons.
    """
    feeds = (example,) if condition is None else (example, condition)
    known: dict[str, Any] = {
        "condition": condition,
        "likelihood": likelihood,
        "learned_variance": learned_variance,
        **options,
    }
    try:
        if recipe.missing is not None:
            raise recipe.missing
        return recipe, adapt(recipe, example, **known)
    except AdaptError as error:
        if not (recipe.may_be_cut and recipe.can_run):
            raise
        refused = error
    spread = learned_variance or LIKELIHOODS[likelihood].second_output == "always"
    try:
        with torch.no_grad(), kept_rng(), slow_attention(), reading("cutting the model at its noise"):
            module = private_copy(recipe.module)
            cut = cut_recipe(
                recipe,
                module,
                feeds,
                count=2 if spread else 1,
                classes=LIKELIHOODS[likelihood].values == "classes",
            )
        if recipe.missing is None:
            first = str(refused).split(": ")[0][:160]
            cut = dataclasses.replace(cut, notes=(f"its halves found by name do not hold ({first})", *cut.notes))
        return cut, adapt(cut, example, **known)
    except AdaptError as reason:
        if refused.explained:
            raise refused from refused.__cause__
        if not isinstance(reason, NotCut):
            if str(reason) in str(refused):  # the same fault of the model, met again
                raise refused from refused.__cause__
            raise AdaptError(f"{refused}; with its forward split at the latent: {reason}") from reason.__cause__
        raise AdaptError(f"{refused}; nor can its forward be split at the latent: {reason}") from refused.__cause__
