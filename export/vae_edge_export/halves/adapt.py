"""A recipe to two functions, x -> (mean, logvar) and z -> x_hat; and the proof that they are what they seem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS, LikelihoodName
from vae_edge_runtime.format.specs import LatentKind

from ..adapters import Recipe
from ..adapters.recipe import BY_NAME
from ..adapters.scale_form import ScaleForm, declared_form
from ..tracing.torch_state import kept_rng, slow_attention
from .composition import compare_with_forward
from .door import guarded, raised_by_the_model, reading
from .indices import with_codebook
from .model_copy import private_copy
from .normalise import Encoded, read_encoded
from .posterior import cut_in_two, determine_scale_form, measure_posterior
from .probe import Role, mean_is_drawn
from .probe_rows import check_decode, check_encode
from .vae import AdaptedVae, code_of, pairs_of


def adapt(
    recipe: Recipe,
    example: Tensor,
    *,
    condition: Tensor | None = None,
    scale_form: ScaleForm | None = None,
    likelihood: LikelihoodName = "mse",
    learned_variance: bool = False,
    logits: bool = False,
    codebook: int | None = None,
    any_shape: bool = False,
) -> AdaptedVae:
    """Check the two halves that a recipe names on example rows, and find out what their tensors mean.

    Args:
        recipe: as ``recipe_for`` gives it; its module is left as it is, a copy is worked on.
        example: (n, *input_shape) float32, in model units and layout.
        condition: (n, *shape), for a conditional model.
        scale_form: what the second value of ``encode`` is; None: measured in the model's own forward.
        likelihood: decides the shapes a decoder gives.
        learned_variance: the decoder gives (x_hat, x_logvar).
        logits: the decoder gives logits of a bernoulli.
        codebook: number of codes of a VQ model.
        any_shape: the decoder may give other rows than went in, as a forecast does: nothing is scored then.

    Raises:
        AdaptError: a half is missing, draws random numbers, or gives other shapes; the scale is
            neither declared nor to be measured, or measured to be another; the halves together do
            not give what the model's own forward gives.
        OptionError: ``scale_form`` is not a valid one.

    Example:
        ``adapt(recipe_for(model), torch.zeros(3, 1, 28, 28)).latent_shape``
    """
    scale_form = declared_form(scale_form, None)
    recipe = guarded(recipe)
    module = private_copy(recipe.module)
    feeds = (example,) if condition is None else (example, condition)
    with torch.no_grad(), kept_rng(), slow_attention(), reading("reading what the model gives"):
        # What encode gives, and what the model's own forward draws noise around.
        recipe, encoded = _first_call(recipe, module, feeds)
        if (looked_up := with_codebook(recipe, module, encoded, codebook)) is not None:
            recipe, encoded = _first_call(looked_up, module, feeds)
        check_encode(recipe, module, feeds, encoded)
        measured = measure_posterior(recipe, feeds)
        if encoded.code is not None and not recipe.library:
            halved = cut_in_two(recipe, feeds, measured)
            if halved is not None:
                recipe, encoded = _first_call(halved, module, feeds)
        evidence = [recipe.in_words, *recipe.notes, f"encode returns {encoded.how}"]
        if learned_variance:
            evidence.append("a pair of decode is taken as (mean, logvar); with names, as they say")
        evidence += _converted_types(recipe.module)
        evidence += [f"draws noise, which the bundle leaves out: {s.op} at {s.where}" for s in measured.sources]

        # What each of its tensors means.
        kind = _latent_kind(encoded)
        role: Role | None = None
        form: ScaleForm | None = None
        if kind == "gaussian":
            role, form, how = determine_scale_form(recipe, feeds, encoded, measured, declared=scale_form)
            evidence.append(how)
        elif kind == "deterministic" and not recipe.library and mean_is_drawn(code_of(encoded), measured):
            raise AdaptError(
                "encode gives one tensor, and the model's forward draws noise around it: return the scale too, "
                "encode=lambda m, x: (mean, scale)"
            )
        latent_shape, groups, embedding_shape = _latent_shapes(encoded, role, kind, len(example))
        vae = AdaptedVae(
            recipe=recipe.name,
            module=module,
            user_encode=recipe.encode,
            user_decode=recipe.decode,
            kind=kind,
            scale_form=form,
            role=role,
            input_shape=tuple(example.shape[1:]),
            latent_shape=latent_shape,
            groups=groups,
            embedding_shape=embedding_shape,
            codebook=_codebook_size(module, recipe.codebook or codebook or 0, encoded),
            decoded=2 if learned_variance or LIKELIHOODS[likelihood].second_output == "always" else 1,
            classes=0,
            has_kl=kind == "gaussian" and recipe.has_kl,
            prior=recipe.prior,
            latent_offset=recipe.latent_offset,
            latent_scale=recipe.latent_scale,
        )

        # Both halves together, against the model's own forward.
        x_hat = check_decode(vae, feeds, likelihood, logits=logits, any_shape=any_shape)
        if logits and 0.0 <= float(x_hat.min()) <= float(x_hat.max()) <= 1.0:
            evidence.append("decode gave values in [0, 1] only: if they are probabilities, leave logits out")
        evidence += _other_prior(vae)
        if condition is not None:
            evidence += _without_condition(vae, feeds)
        evidence.append(compare_with_forward(recipe, vae, feeds, logits=logits))
    classes = x_hat.shape[1] if LIKELIHOODS[likelihood].values == "classes" else 0
    shape = () if classes or x_hat.shape == example.shape else tuple(x_hat.shape[1:])
    return dataclasses.replace(vae, classes=classes, evidence=tuple(evidence), decoded_shape=shape)


def _first_call(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...]) -> tuple[Recipe, Encoded]:
    """What ``encode`` returns; a model of flat rows gets them flat."""
    try:
        return recipe, read_encoded(recipe.encode(module, *(feed.clone() for feed in feeds)))
    except AdaptError as error:
        if raised_by_the_model(error) and feeds[0].ndim > 2 and recipe.name == BY_NAME:
            flat = _flattened(recipe)
            with suppress(AdaptError):  # the first error says more
                return flat, read_encoded(flat.encode(module, *feeds))
        raise


def _flattened(recipe: Recipe) -> Recipe:
    encode, forward = recipe.encode, recipe.forward

    def flat(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda m, x, *condition: function(m, x.flatten(1), *condition)

    notes = (*recipe.notes, "takes flat rows: they are flattened before it and shaped after it")
    return dataclasses.replace(recipe, encode=flat(encode), forward=flat(forward) if forward else None, notes=notes)


def _converted_types(module: nn.Module) -> list[str]:
    """In words, the floating types other than float32 that weights have in the user's model."""
    types = {str(t.dtype) for t in module.state_dict().values() if t.is_floating_point()} - {"torch.float32"}
    return [f"weights of type {', '.join(sorted(types))} are exported as float32"] if types else []


def _other_prior(vae: AdaptedVae) -> list[str]:
    """In words, the first weight that speaks of a prior of its own, where the KL is one to N(0, I)."""
    return [
        f"has '{name}': if its loss uses another prior than N(0, I), pass kl_weight 0 and prior="
        for name in vae.module.state_dict()
        if "prior" in name.lower() and vae.has_kl
    ][:1]


def _without_condition(vae: AdaptedVae, feeds: tuple[Tensor, ...]) -> list[str]:
    """In words, which half gives the same whatever stands beside the row.

    Raises:
        AdaptError: both halves do.
    """
    x, condition = feeds
    other = 1 - condition if condition.is_floating_point() else condition.flip(0)
    codes = vae.encode(vae.module, x, condition)[0]
    halves = {
        "encode": (codes, vae.encode(vae.module, x, other)[0]),
        "decode": tuple(vae.decode(vae.module, codes, c)[0] for c in (condition, other)),
    }
    same = [half for half, (first, second) in halves.items() if torch.equal(first, second)]
    if len(same) == 2 and not torch.equal(condition, other):
        raise AdaptError("a condition was given, and neither encode nor decode depends on it: leave it out")
    return [f"{half} does not depend on the condition" for half in same if len(same) == 1]


def _latent_kind(encoded: Encoded) -> LatentKind:
    if encoded.indices is not None:
        return "codes"
    return "deterministic" if encoded.code is not None else "gaussian"


def _latent_shapes(
    encoded: Encoded, role: Role | None, kind: LatentKind, n: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Shape of one latent, of each group, of one quantised latent."""
    if kind == "codes":
        assert encoded.indices is not None
        assert encoded.z_q is not None
        if encoded.indices.shape[0] != n or encoded.z_q.shape[0] != n:
            raise AdaptError(
                f"encode gave indices {tuple(encoded.indices.shape)} and z_q {tuple(encoded.z_q.shape)} for {n} rows: "
                "the batch comes first, indices.reshape(len(x), …)"
            )
        return tuple(encoded.indices.shape[1:]), (), tuple(encoded.z_q.shape[1:])
    if kind == "deterministic":
        code = code_of(encoded)
        if code.ndim < 2 or code.shape[0] != n:
            raise AdaptError(f"encode gave a code of shape {tuple(code.shape)} for {n} rows; the batch comes first")
        return tuple(code.shape[1:]), (), ()
    pairs = pairs_of(encoded, role)
    if len(pairs) == 1:
        return tuple(pairs[0][0].shape[1:]), (), ()
    groups = tuple(tuple(mean.shape[1:]) for mean, _ in pairs)
    return (sum(mean[0].numel() for mean, _ in pairs),), groups, ()


def _codebook_size(module: nn.Module, declared: int, encoded: Encoded) -> int:
    """Number of codes: declared, or that of every embedding there is; 0 where there are no indices."""
    if encoded.indices is None:
        return 0
    sizes = {part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)}
    if not declared and len(sizes) != 1:
        raise AdaptError(
            "encode gives indices; say how many codes there are with codebook= (of a residual quantiser in each "
            "codebook, of a finite scalar quantiser the product of its levels). If they are pooling indices, make them "
            "part of the code: encode=lambda m, x: torch.cat([code, indices.flatten(1).to(x.dtype)], 1), and a decode= "
            "that cuts the two apart"
        )
    codes = declared or sizes.pop()
    highest = int(encoded.indices.max())
    if highest >= codes or int(encoded.indices.min()) < 0:
        raise AdaptError(f"encode gives the index {highest}, and the codebook has {codes} codes: see codebook=")
    return codes
