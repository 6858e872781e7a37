"""A config to a module; torch is imported here, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vae_edge_runtime import arguments
from vae_edge_runtime.dependencies import require

from .config import ModelConfig

if TYPE_CHECKING:
    from torch import nn


def build(config: ModelConfig) -> nn.Module:
    """A freshly initialised model; weights come from torch's global generator.

    Every model has ``encode(x) -> (mean, logvar)`` and ``decode(z) -> x_hat`` or, with a learned
    variance, ``(x_hat, x_logvar)``: x (n, *input_shape), z (n, latent_dim), all float32.

    Args:
        config: kind, shape of a row, and sizes.

    Raises:
        OptionError: ``config`` is no ``ModelConfig``.
        MissingDependency: torch is not installed.
    """
    arguments.instance("config", config, ModelConfig, "a ModelConfig")
    require("torch", extra="export", why="building a model")
    if config.kind == "conv":
        from .conv import ConvVae

        return ConvVae(config)
    if config.kind == "mlp":
        from .mlp import MlpVae

        return MlpVae(config)
    from .sequence import SequenceVae

    return SequenceVae(config)
