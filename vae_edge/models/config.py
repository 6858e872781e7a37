"""Which model, in numbers; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vae_edge_runtime.errors import OptionError

LIKELIHOODS = ("mse", "bernoulli", "gaussian")
"""Those the reference models are trained with; ``export`` knows more."""
KINDS = {"conv": 3, "mlp": 1, "sequence": 2}
"""Kind to the number of axes of one row in model layout; an mlp takes any and flattens."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A reference VAE.

    Attributes:
        kind: ``conv`` (C, H, W), ``mlp`` (any shape), ``sequence`` (time, feature).
        input_shape: of one row in model layout.
        latent_dim: size of the latent vector.
        width: channels of the first stage (conv, sequence) or hidden units (mlp).
        depth: halvings of the spatial or time axis, or hidden layers.
        likelihood: ``mse``, ``bernoulli`` (the decoder gives logits), ``gaussian``.
        variance: of ``gaussian``; None: learned, the decoder gives (mean, logvar).
    """

    kind: Literal["conv", "mlp", "sequence"]
    input_shape: tuple[int, ...]
    latent_dim: int = 16
    width: int = 32
    depth: int = 2
    likelihood: Literal["mse", "bernoulli", "gaussian"] = "mse"
    variance: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"kind is {self.kind!r}; valid are {', '.join(KINDS)}")
        if self.kind != "mlp" and len(self.input_shape) != KINDS[self.kind]:
            raise OptionError(
                f"a {self.kind} model takes rows of {KINDS[self.kind]} axes, these have {self.input_shape}"
            )
        if min((self.latent_dim, self.width, self.depth, *self.input_shape)) < 1:
            raise OptionError("latent_dim, width, depth and every axis must be at least 1")
        axes = {"conv": self.input_shape[1:], "sequence": self.input_shape[:1], "mlp": (1 << 30,)}[self.kind]
        if min(axes) < 1 << self.depth:
            raise OptionError(
                f"{self.depth} halvings need axes of at least {1 << self.depth}, these are {axes}: lower depth"
            )
        if self.likelihood not in LIKELIHOODS:
            raise OptionError(f"likelihood is {self.likelihood!r}; valid are {', '.join(LIKELIHOODS)}")
        if self.variance is not None and (self.likelihood != "gaussian" or not 0 < self.variance < math.inf):
            raise OptionError("variance is for likelihood 'gaussian', and positive")

    @property
    def learned_variance(self) -> bool:
        """Whether the decoder gives a log variance beside the mean."""
        return self.likelihood == "gaussian" and self.variance is None

    @property
    def elements(self) -> int:
        """Elements of one row."""
        return math.prod(self.input_shape)
