"""A distribution that a model's forward returns around its reconstruction: its family must not be dropped."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch import distributions as td

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..adapters.recipe import PASSED
from ..config import ExportConfig
from ..halves.door import guarded
from ..halves.model_copy import private_copy
from ..halves.probe import PinnedNoise
from ..halves.vae import AdaptedVae
from ..tracing.torch_state import kept_rng, slow_attention
from .families import FAMILIES, distributions_in

_RTOL = 1e-3


def keep_family(recipe: Recipe, vae: AdaptedVae, config: ExportConfig, feeds: tuple[Tensor, ...]) -> AdaptedVae:
    """The adapted model, with a line of evidence where the user's halves leave out a family that forward names.

    Args:
        recipe: as it was found, with the model's own forward. vae: what came of it.
        feeds: x (n, *input_shape) in model units, and its condition if any.

    Raises:
        AdaptError: ``decode`` gives a tensor, the likelihood is the default, and forward puts a distribution around
            that tensor. Which one is named, and what to say.
    """
    if recipe.library or recipe.forward is None or not recipe.can_run or config.likelihood != ExportConfig().likelihood:
        return vae
    with torch.no_grad(), kept_rng(), slow_attention():
        try:
            x_hat = vae.decode(vae.module, vae.encode(vae.module, *feeds)[0], *feeds[1:])[0]
            with PinnedNoise(0.0):
                returned = guarded(recipe).forward(private_copy(recipe.module), *(feed.clone() for feed in feeds))  # type: ignore[misc]
        except AdaptError:  # a forward that does not run names nothing
            return vae
    around = [p for p in distributions_in(returned) if _around(p, x_hat)]
    if not around:
        return vae
    name = type(around[0]).__name__
    families = [family for family in FAMILIES if isinstance(around[0], family.kind)]
    said = f"its forward returns a {name} around what decode gives"
    if recipe.name == PASSED:
        evidence = f"{said}: squared errors are scored, since decode= gives a tensor"
        return dataclasses.replace(vae, evidence=(*vae.evidence, evidence))
    option = f"say likelihood='{families[0].likelihood}', or " if families else ""
    raise AdaptError(
        f"{said}, and the score would be the squared error: {option}write both halves, encode=lambda m, x: "
        f"(mean, scale), and decode=lambda m, z: the {name}, which names its likelihood by itself. A decode= that "
        "gives a tensor is scored by its squared error"
    )


def _around(given: td.Distribution, x_hat: Tensor) -> bool:
    """Whether a distribution is one of rows: some parameter of it is what the decoder gives, or its sigmoid."""
    parameters = [getattr(given, name, None) for name in ("loc", "logits", "probs", "rate", "total_count")]
    return any(
        isinstance(value, Tensor) and value.shape == x_hat.shape and torch.allclose(value, other, rtol=_RTOL, atol=1e-5)
        for value in parameters
        for other in (x_hat, torch.sigmoid(x_hat))
    )
