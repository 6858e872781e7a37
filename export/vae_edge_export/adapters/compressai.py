"""compressai and models in its style: analysis ``g_a`` and synthesis ``g_s``, without the entropy coder."""

from __future__ import annotations

from typing import Any

from torch import nn

from .recipe import Prior, Recipe


def recognise(model: Any) -> Recipe | None:
    """A recipe for a module with ``g_a`` and ``g_s``."""
    if not (isinstance(getattr(model, "g_a", None), nn.Module) and isinstance(getattr(model, "g_s", None), nn.Module)):
        return None
    why = "its entropy model is not exported: no bit streams, no rates, nothing to draw latents from"
    return Recipe(
        name=f"compressai {type(model).__name__}",
        module=model,
        encode=lambda m, x: m.g_a(x),
        decode=lambda m, y: m.g_s(y),
        has_kl=False,
        prior=Prior("none", why),
        notes=("latents are not rounded", why),
    )
