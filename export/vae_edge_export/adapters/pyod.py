"""PyOD: fitted ``VAE`` and ``AutoEncoder`` detectors, with their scaler, their distance and their threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from vae_edge_runtime.errors import AdaptError

from .origin import is_a, is_from
from .recipe import Recipe

_NOTES = (
    "its scaler is in the graphs, its score is the distance of a row from its reconstruction, its threshold is kept",
)
_MEAN = "decision_function draws one latent per call; the bundle decodes the posterior mean"
_EPSILON = 1e-8  # PyOD adds it to the standard deviation


def recognise(model: Any) -> Recipe | None:
    """A recipe for a fitted detector.

    Raises:
        AdaptError: the detector is not fitted.
    """
    if not (is_from(model, "pyod") and is_a(model, "VAE", "AutoEncoder") and hasattr(model, "decision_function")):
        return None
    module = getattr(model, "model", None)
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if not isinstance(module, nn.Module) or getattr(model, "threshold_", None) is None:
        raise AdaptError(f"this {type(model).__name__} detector is not fitted: call fit(X) first")
    has_posterior = is_a(model, "VAE")
    return Recipe(
        name=f"pyod {type(model).__name__}",
        module=module,
        encode=(lambda m, x: m.encode(x)) if has_posterior else (lambda m, x: m.encoder(x)),
        decode=(lambda m, z: m.decode(z)) if has_posterior else (lambda m, z: m.decoder(z)),
        forward=lambda m, x: m(x),
        options=_options(model, has_posterior),
        notes=_NOTES + ((_MEAN,) if has_posterior else ()),
    )


def _options(model: Any, has_posterior: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "likelihood": "mse",
        "transform": "sqrt",
        "layout": "features",
        "threshold": float(model.threshold_),
    }
    if has_posterior:
        options["kl_weight"] = 0.0
    if model.preprocessing and model.X_mean is not None:
        options["offset"] = tuple(float(v) for v in np.asarray(model.X_mean))
        options["scale"] = tuple(float(v) + _EPSILON for v in np.asarray(model.X_std))
    return options
