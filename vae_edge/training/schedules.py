"""Which share of the learning rate a step has: it grows from 0, then stays or falls as a cosine."""

from __future__ import annotations

import math

from .config import TrainConfig


def share_of_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Of the step ``step``, counted from 0 over all epochs; above 0 and at most 1.

    Example:
        >>> from vae_edge.models import ModelConfig
        >>> config = TrainConfig(model=ModelConfig(kind="mlp", input_shape=(4,)), epochs=4, warmup_epochs=2)
        >>> [share_of_rate(config, step, 1) for step in range(4)]
        [0.5, 1.0, 1.0, 1.0]
    """
    rising, whole = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if step < rising:
        return (step + 1) / rising
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / (whole - rising)))
