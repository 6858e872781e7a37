"""Any VAE to two functions: x -> (mean, logvar) and z -> x_hat; and the proof that they are what they seem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError, OptionError
from vae_edge_runtime.format.specs import LatentKind, Likelihood

from ..adapters import Decode, Encode, Recipe, recipe_for
from ..adapters.scale import TO_LOGVAR, Scale
from ..tracing.torch_state import kept_rng, slow_attention
from .composition import compare_with_forward
from .normalise import Encoded, read_encoded
from .posterior import cut_in_two, measure_posterior, private_copy, scale_of
from .probe import Role, mean_is_drawn
from .probe_rows import check_decode, check_encode, failed
from .vae import AdaptedVae, code_of, pairs_of

__all__ = ["AdaptedVae", "adapt"]


def adapt(
    model: Any,
    example: Tensor,
    *,
    condition: Tensor | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale: Scale | None = None,
    likelihood: Likelihood = "mse",
    learned_variance: bool = False,
    logits: bool = False,
    codebook: int | None = None,
    recipe: Recipe | None = None,
) -> AdaptedVae:
    """Find the two halves of a VAE and check them on example rows.

    Args:
        model: left as it is; a copy is worked on.
        example: (n, *input_shape) float32, in model units and layout.
        condition: (n, *shape), for a conditional model.
        encode: (model, x) -> mean and scale parameter, one code, or (indices, z_q); default: found.
        decode: (model, z) -> x_hat, or a pair for a distribution with its own spread; default: found.
        scale: what the second value of ``encode`` is; None: measured in the model's own forward.
        likelihood: decides the shapes a decoder gives.
        learned_variance: the decoder gives (x_hat, x_logvar).
        logits: the decoder gives logits of a bernoulli.
        codebook: number of codes of a VQ model.
        recipe: as ``recipe_for`` gives it.

    Raises:
        AdaptError: a half is missing, draws random numbers, or gives other shapes; the scale is
            neither declared nor to be measured, or measured to be another; the halves together do
            not give what the model's own forward gives.
        OptionError: ``scale`` is not a valid one.
    """
    if scale is not None and scale not in TO_LOGVAR:
        raise OptionError(f"scale is {scale!r}; valid are {', '.join(TO_LOGVAR)}")
    recipe = recipe or recipe_for(model, encode=encode, decode=decode)
    module = private_copy(recipe.module)
    types = sorted(
        {str(t.dtype) for t in recipe.module.state_dict().values() if t.is_floating_point()} - {"torch.float32"}
    )
    feeds = (example,) if condition is None else (example, condition)
    with torch.no_grad(), kept_rng(), slow_attention():
        recipe, found = _first_call(recipe, module, feeds)
        check_encode(recipe, module, feeds, found)
        measured = measure_posterior(recipe, feeds)
        if found.code is not None and not recipe.library and (cut := cut_in_two(recipe, feeds, measured)) is not None:
            recipe, found = _first_call(cut, module, feeds)
        kind = _kind(found)
        evidence = [f"recognised as {recipe.name}", *recipe.notes, f"encode returns {found.how}"]
        if learned_variance:
            evidence.append("a pair of decode is taken as (mean, logvar); with names, as they say")
        if types:
            evidence.append(f"weights of type {', '.join(types)} are exported as float32")
        role: Role | None = None
        form: Scale | None = None
        evidence += [f"draws noise: {source.op} at {source.where}" for source in measured.sources]
        if kind == "gaussian":
            role, form, how = scale_of(recipe, feeds, found, measured, declared=scale)
            evidence.append(how)
        elif kind == "deterministic" and not recipe.library and mean_is_drawn(code_of(found), measured):
            raise AdaptError(
                "encode gives one tensor, and the model's forward draws noise around it: return the scale too, "
                "encode=lambda m, x: (mean, scale)"
            )
        shapes = _latent_shapes(found, role, kind, recipe, len(example))
        vae = AdaptedVae(
            recipe=recipe.name,
            module=module,
            user_encode=recipe.encode,
            user_decode=recipe.decode,
            kind=kind,
            scale=form,
            role=role,
            input_shape=tuple(example.shape[1:]),
            latent_shape=shapes[0],
            groups=shapes[1],
            embedding_shape=shapes[2],
            codebook=_codebook(module, recipe.codebook or codebook or 0, found),
            decoded=2 if learned_variance or likelihood == "beta" else 1,
            classes=0,
            has_kl=kind == "gaussian" and recipe.has_kl,
            prior=recipe.prior,
            latent_offset=recipe.latent_offset,
            latent_scale=recipe.latent_scale,
            evidence=tuple(evidence),
        )
        x_hat = check_decode(vae, feeds, likelihood, logits=logits)
        if logits and 0.0 <= float(x_hat.min()) <= float(x_hat.max()) <= 1.0:
            evidence.append("decode gave values in [0, 1] only: if they are probabilities, leave logits out")
        evidence += [
            f"has '{name}': if its loss uses another prior than N(0, I), pass kl_weight 0 and prior="
            for name in module.state_dict()
            if "prior" in name.lower() and vae.has_kl
        ][:1]
        evidence.append(compare_with_forward(recipe, vae, feeds, logits=logits))
        vae = dataclasses.replace(vae, evidence=tuple(evidence))
    return dataclasses.replace(vae, classes=x_hat.shape[1]) if likelihood == "categorical" else vae


def _first_call(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...]) -> tuple[Recipe, Encoded]:
    """What ``encode`` returns; a model of flat rows gets them flat."""
    try:
        return recipe, read_encoded(recipe.encode(module, *(feed.clone() for feed in feeds)))
    except AdaptError:
        raise
    except Exception as error:
        if feeds[0].ndim > 2 and recipe.name == "notebook":
            flat = _flattened(recipe)
            try:
                return flat, read_encoded(flat.encode(module, *feeds))
            except Exception:  # the first error says more
                pass
        raise failed("encode", module, feeds, error) from error


def _flattened(recipe: Recipe) -> Recipe:
    encode, forward = recipe.encode, recipe.forward

    def flat(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda m, x, *condition: function(m, x.flatten(1), *condition)

    notes = (*recipe.notes, "takes flat rows: they are flattened before it and shaped after it")
    return dataclasses.replace(recipe, encode=flat(encode), forward=flat(forward) if forward else None, notes=notes)


def _kind(found: Encoded) -> LatentKind:
    if found.indices is not None:
        return "codes"
    return "deterministic" if found.code is not None else "gaussian"


def _latent_shapes(
    found: Encoded, role: Role | None, kind: LatentKind, recipe: Recipe, n: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Shape of one latent, of each group, of one quantised latent."""
    if kind == "codes":
        assert found.indices is not None
        assert found.z_q is not None
        if found.indices.shape[0] != n or found.z_q.shape[0] != n:
            raise AdaptError(
                f"encode gave indices {tuple(found.indices.shape)} and z_q {tuple(found.z_q.shape)} for {n} rows: the "
                "batch comes first, indices.reshape(len(x), …)"
            )
        return tuple(found.indices.shape[1:]), (), tuple(found.z_q.shape[1:])
    if kind == "deterministic":
        code = code_of(found)
        if code.ndim < 2 or code.shape[0] != n:
            raise AdaptError(f"encode gave a code of shape {tuple(code.shape)} for {n} rows; the batch comes first")
        return tuple(code.shape[1:]), (), ()
    pairs = pairs_of(found, role)
    if len(pairs) == 1:
        return tuple(pairs[0][0].shape[1:]), (), ()
    groups = tuple(tuple(mean.shape[1:]) for mean, _ in pairs)
    return (sum(mean[0].numel() for mean, _ in pairs),), groups, ()


def _codebook(module: nn.Module, declared: int, found: Encoded) -> int:
    """Number of codes: declared, or that of the one embedding there is; 0 where there are no indices."""
    if found.indices is None:
        return 0
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    if not declared and len(tables) != 1:
        raise AdaptError("encode gives indices; say how many codes there are with codebook=")
    codes = declared or tables[0].num_embeddings
    highest = int(found.indices.max())
    if highest >= codes or int(found.indices.min()) < 0:
        raise AdaptError(f"encode gives the index {highest}, and the codebook has {codes} codes: see codebook=")
    return codes
