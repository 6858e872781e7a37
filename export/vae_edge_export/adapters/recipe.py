"""How to call the two halves of one kind of model; adapters and the user's own callables make recipes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.arguments.by_annotation import check_fields
from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.specs import PriorKind

from .scale_form import ScaleForm

Encode = Callable[..., Any]
"""(model, x) or, conditional, (model, x, condition) -> what ``read_encoded`` understands."""
Decode = Callable[..., Any]
"""(model, z) or (model, z, condition) -> what ``read_decoded`` understands; z is a list for a hierarchical model."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Where ``sample`` draws from; see ``PriorSpec``.

    Attributes:
        weights: (k,) of a mixture. means, stds: (k, *latent_shape).
        table: (positions or 1, codes) probabilities of a categorical prior.
    """

    kind: PriorKind
    source: str
    weights: NDArray[Any] = field(default_factory=lambda: np.ones(1))
    means: NDArray[Any] | None = None
    stds: NDArray[Any] | None = None
    table: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, eq=False)
class Recipe:
    """A model and what is known of it before anything is run.

    Attributes:
        name: of the adapter, such as ``diffusers-kl``.
        module: the torch module that does the work.
        forward: (model, x[, condition]): the model's own full pass, run by the probe; None: there is none.
        scale_form: what the adapter knows the second value of ``encode`` to be; None: find out.
        scale_known: how the adapter knows it, in a word.
        has_kl: False where the posterior or the prior has no KL in closed form.
        prior: None: the usual one of the latent's kind.
        latent_offset, latent_scale: latents leave as (z - offset) * scale.
        codebook: number of codes, for a VQ model.
        options: ``ExportConfig`` fields the model brings along.
        notes: what is exported and what is not, for the user.
        may_be_cut: the user gave no half and no library is known, so a cut through its forward may give both.
        missing: why no halves were found by their names; ``encode`` and ``decode`` raise it.
    """

    name: str
    module: nn.Module
    encode: Encode
    decode: Decode
    forward: Callable[..., Any] | None = None
    scale_form: ScaleForm | None = None
    scale_known: str = "declared"
    has_kl: bool = True
    prior: Prior | None = None
    latent_offset: float = 0.0
    latent_scale: float = 1.0
    codebook: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    may_be_cut: bool = False
    missing: AdaptError | None = None

    @property
    def can_run(self) -> bool:
        """Whether there is a forward to measure and to compare with."""
        own = inspect.getattr_static(type(self.module), "forward")  # TorchScript's raises when it is asked for
        return self.forward is not None and own is not nn.Module.forward

    @property
    def in_words(self) -> str:
        """How the halves were found, for the user."""
        return IN_WORDS.get(self.name) or f"recognised as {self.name}"

    @property
    def library(self) -> bool:
        """Whether an adapter made this, which knows what it leaves out."""
        return self.name not in (BY_NAME, PASSED)


BY_NAME = "found by name"
PASSED = "passed"
AT_NOISE, AT_CODES, AT_ROUNDING = "split at its noise", "split at its codes", "split at its rounding"

IN_WORDS = {
    BY_NAME: "encoder and decoder were found by their names",
    PASSED: "encoder and decoder are the functions that were passed",
    AT_NOISE: "encoder and decoder are the two parts of forward, before and after it draws the latent",
    AT_CODES: "encoder and decoder are the two parts of forward, before and after it looks up its codes",
    AT_ROUNDING: "encoder and decoder are the two parts of forward, before and after it rounds the latent",
}
"""How the halves of a model that no adapter knows were found, by ``Recipe.name``."""


def called(function: Callable[..., Any], *values: Any) -> Any:
    """What a half gives for rows or latents and what stands beside them, as far as it takes these by position.

    An encoder of rows and their mask often has a decoder of latents alone.
    """
    own = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(own).parameters.values()
    except (TypeError, ValueError):  # of a compiled function
        return function(*values)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return function(*values)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return function(*values[: max(1, len(places))])
