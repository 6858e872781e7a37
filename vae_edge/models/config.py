"""Which model, in numbers; no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vae_edge_runtime import arguments
from vae_edge_runtime.errors import OptionError

LIKELIHOODS = ("mse", "bernoulli", "gaussian")
"""Those the reference models are trained with; ``export`` knows more."""
KINDS = {"conv": 3, "mlp": 1, "sequence": 2}
"""Kind to the number of axes of one row in model layout; an mlp takes any and flattens."""

_MOST_UNITS, _MOST_HALVINGS, _MOST_ELEMENTS = 1 << 20, 30, 1 << 30
"""Larger ones are slips of the pen: torch would ask for terabytes, or refuse the number."""


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
        arguments.choice("kind", self.kind, tuple(KINDS))
        arguments.choice("likelihood", self.likelihood, LIKELIHOODS)
        for name, highest in (("latent_dim", _MOST_UNITS), ("width", _MOST_UNITS), ("depth", _MOST_HALVINGS)):
            checked = arguments.whole_number(name, getattr(self, name), low=1, high=highest)
            object.__setattr__(self, name, checked)  # an int of numpy is no int of JSON
        if not isinstance(self.input_shape, (tuple, list)):
            raise OptionError(f"input_shape is {self.input_shape!r:.60}; pass a tuple of axes, such as (3, 64, 64)")
        axes = tuple(arguments.whole_number("input_shape", n, low=1, high=_MOST_ELEMENTS) for n in self.input_shape)
        object.__setattr__(self, "input_shape", axes)
        if not axes or math.prod(axes) > _MOST_ELEMENTS:
            raise OptionError(f"input_shape is {axes!r:.60}; a row holds 1 to {_MOST_ELEMENTS} elements")
        if self.kind != "mlp" and len(self.input_shape) != KINDS[self.kind]:
            raise OptionError(
                f"a {self.kind} model takes rows of {KINDS[self.kind]} axes, these have {self.input_shape}"
            )
        halved = {"conv": self.input_shape[1:], "sequence": self.input_shape[:1], "mlp": (1 << 30,)}[self.kind]
        if min(halved) < 1 << self.depth:
            raise OptionError(
                f"{self.depth} halvings need axes of at least {1 << self.depth}, these are {halved}: lower depth"
            )
        if self.variance is not None:
            variance = arguments.number("variance", self.variance)
            if self.likelihood != "gaussian" or variance <= 0:
                raise OptionError("variance is for likelihood 'gaussian', and positive")
            object.__setattr__(self, "variance", variance)

    @property
    def learned_variance(self) -> bool:
        """Whether the decoder gives a log variance beside the mean."""
        return self.likelihood == "gaussian" and self.variance is None

    @property
    def elements(self) -> int:
        """Elements of one row."""
        return math.prod(self.input_shape)
