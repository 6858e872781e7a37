"""A decoder without its encoder, as the one graph of a bundle: latents to rows."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError, OptionError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.specs import (
    ConditionSpec,
    InputSpec,
    LatentSpec,
    PriorSpec,
    ScoreSpec,
    Signature,
    TensorSpec,
    element_count,
)
from vae_edge_runtime.sampling.noise import standard_normal

from ..adapters import Decode, Recipe, recipe_for
from ..adapters.find import ENCODERS, forward_of
from ..adapters.recipe import BY_NAME, PASSED
from ..config import ExportConfig
from ..halves.door import guarded, reading
from ..halves.model_copy import private_copy
from ..halves.normalise import read_decoded
from ..halves.vae import AdaptedVae
from ..tracing.torch_state import kept_rng, slow_attention
from .build import BuiltGraphs
from .modules import DataUnits, DecodeGraph
from .row_bytes import measure_row_bytes

_TRIED = 3
_NO_SCORE = ScoreSpec("mse", None, 1.0, None, "identity", ("reconstruction",), 0.01, 0, 0.0, ())


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltDecoder:
    """The graph ``decode`` of a decoder alone, and what a decoded row is; its range is not measured yet."""

    built: BuiltGraphs
    row: InputSpec


def decoder_recipe(model: Any, decode: Decode | None) -> Recipe:
    """How to call a decoder: the user's function, a library's half, a method ``decode``, or the module's forward.

    Raises:
        AdaptError: the model is no module, or has an encoder by name, so that its forward is no decoder.
    """
    if not isinstance(model, nn.Module):
        raise AdaptError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    if decode is not None:
        return Recipe(PASSED, model, _no_encoder, decode)
    with reading("looking for the decoder of the model"), suppress(AdaptError):
        recipe = recipe_for(model)
        if recipe.library:
            return recipe
    if callable(method := getattr(model, "decode", None)) and not isinstance(method, nn.Module):
        return Recipe(BY_NAME, model, _no_encoder, lambda m, z, *c: m.decode(z, *c), notes=("decode: its method",))
    if parts := [name for name, _ in model.named_children() if name in ENCODERS]:
        raise AdaptError(
            f"{type(model).__name__} has the part '{parts[0]}', so it is more than a decoder: export the whole model "
            "with shape= in place of latent_shape=, or say what decodes, decode=lambda m, z: x_hat"
        )
    return Recipe("decoder", model, _no_encoder, forward_of, notes=("decode: its forward",))


def build_decoder(
    recipe: Recipe,
    latent_shape: tuple[int, ...],
    row_shape: tuple[int, ...] | None,
    condition: ConditionSpec | None,
    conditions: NDArray[Any] | None,
    config: ExportConfig,
) -> BuiltDecoder:
    """Run a decoder on latents drawn from N(0, I), and make its graph.

    Args:
        latent_shape: of one latent, in the units that the model takes.
        row_shape: of one row in ``config.layout``, for a decoder that gives flat rows; None: as the decoder gives it.
        condition, conditions: of a conditional decoder: what one is, and (n, *shape) of them.

    Raises:
        AdaptError: the decoder fails on such latents, or what it gives is no batch of rows.
        OptionError: the rows do not have ``row_shape``, or the likelihood needs an encoder.
    """
    likelihood = LIKELIHOODS[config.likelihood]
    if likelihood.values == "classes":
        raise OptionError("a decoder alone cannot give logits of classes: export the whole model")
    recipe = guarded(recipe)
    module = private_copy(recipe.module)
    z = torch.from_numpy(standard_normal(_TRIED * element_count(latent_shape), seed=1)).reshape(_TRIED, *latent_shape)
    # Latents of a bundle are scaled as the library's pipelines scale them; the module takes its own.
    own = z / recipe.latent_scale + recipe.latent_offset
    beside: tuple[Tensor, ...] = ()
    if conditions is not None:
        beside = (torch.from_numpy(np.resize(conditions, (_TRIED, *conditions.shape[1:]))),)
    spread = likelihood.second_output == "always" or (
        likelihood.second_output == "without_variance" and config.variance is None
    )
    count = 2 if spread else 1
    with torch.no_grad(), kept_rng(), slow_attention(), reading("running the decoder"):
        x_hat = read_decoded(recipe.decode(module, own, *beside), count=count)[0]
        again = read_decoded(recipe.decode(module, own, *beside), count=count)[0]
        alone = read_decoded(recipe.decode(module, own[:1], *(b[:1] for b in beside)), count=count)[0]
    given = _shape_of_rows(x_hat, row_shape, config)
    _check_rows(x_hat, again, alone)
    vae = AdaptedVae(
        recipe=recipe.name,
        module=module,
        user_encode=recipe.encode,
        user_decode=recipe.decode,
        kind="deterministic",
        scale_form=None,
        role=None,
        input_shape=given,
        latent_shape=latent_shape,
        groups=(),
        embedding_shape=(),
        codebook=0,
        decoded=count,
        classes=0,
        has_kl=False,
        prior=recipe.prior,
        latent_offset=recipe.latent_offset,
        latent_scale=recipe.latent_scale,
        evidence=("a decoder alone", *(note for note in recipe.notes if not note.startswith("encode"))),
    )
    units = DataUnits(config, given)
    raw = (*given[1:], given[0]) if config.layout == "nhwc" else given
    row = InputSpec(raw, config.output_dtype, config.layout, 0.0, 0.0, config.names)
    latent = LatentSpec(
        latent_shape, "deterministic", PriorSpec("none", "not chosen yet", 0, None), (),
        recipe.latent_offset, recipe.latent_scale, 0, (),
    )  # fmt: skip
    taken = TensorSpec("z", "float32", latent_shape)
    given_beside = (TensorSpec("condition", condition.dtype, condition.shape),) if condition else ()
    signature = Signature((taken, *given_beside), (TensorSpec("x_hat", config.output_dtype, raw),))
    example = {"z": z.numpy()} | ({"condition": beside[0].numpy()} if beside else {})
    graph = DecodeGraph(vae, units, config)
    built = BuiltGraphs(
        vae=vae,
        latent=latent,
        score=dataclasses.replace(_NO_SCORE, likelihood=config.likelihood, variance=config.variance),
        modules={"decode": graph},
        signatures={"decode": signature},
        examples={"decode": example},
        row_bytes={"decode": measure_row_bytes(graph, signature, example)},
    )
    return BuiltDecoder(built, row)


def _no_encoder(*_: Any) -> Any:
    raise AdaptError("this is a decoder alone")


def _shape_of_rows(x_hat: Tensor, row_shape: tuple[int, ...] | None, config: ExportConfig) -> tuple[int, ...]:
    """Shape of one row in model layout."""
    if x_hat.ndim < 2 or len(x_hat) != _TRIED:
        raise AdaptError(f"decode gave shape {tuple(x_hat.shape)} for {_TRIED} latents; the batch comes first")
    have = tuple(x_hat.shape[1:])
    if row_shape is None:
        return have
    wanted = (row_shape[2], *row_shape[:2]) if config.layout == "nhwc" and len(row_shape) == 3 else row_shape
    if have != wanted and not (len(have) == 1 and element_count(wanted) == have[0]):
        raise OptionError(f"shape is {row_shape} in layout '{config.layout}', and decode gives rows of shape {have}")
    return wanted


def _check_rows(x_hat: Tensor, again: Tensor, alone: Tensor) -> None:
    if not x_hat.is_floating_point():
        raise AdaptError(f"decode gave {x_hat.dtype}: return real numbers")
    if not torch.equal(x_hat, again) and bool(torch.isfinite(x_hat).all()):
        raise AdaptError(
            "decode gives other values on a second call, so it draws random numbers: return the mean of the "
            "distribution, decode=lambda m, z: …"
        )
    if alone.shape[1:] != x_hat.shape[1:] or not torch.allclose(alone[0], x_hat[0], 1e-3, 1e-5, equal_nan=True):
        raise AdaptError(
            "decode gives another row for a latent alone than among others: rows must not influence each other (batch "
            "statistics, softmax over the batch axis)"
        )
