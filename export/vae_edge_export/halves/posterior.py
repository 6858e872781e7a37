"""Which of an encoder's tensors is the mean, and what the other one is: measured, declared or named, in that order."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError

from ..adapters import Encode, Recipe
from ..adapters.scale_form import TO_LOGVAR, ScaleForm
from .model_copy import private_copy
from .normalise import Encoded, read_encoded
from .probe import Measured, Role, identify, measure
from .vae import code_of


def measure_posterior(recipe: Recipe, feeds: tuple[Tensor, ...]) -> Measured:
    """The probe on a float64 copy, where differences keep their digits; on a float32 one if that fails."""
    if recipe.forward is None or not recipe.can_run:
        return Measured(problem="it has no forward to measure")
    forward = recipe.forward
    measured = Measured(problem="not run")
    for dtype in (torch.float64, torch.float32):
        module, cast = _cast(recipe.module, feeds, dtype)
        measured = measure(module, lambda m, cast=cast: (recipe.encode(m, *cast), forward(m, *cast)))  # type: ignore[misc]
        if measured.problem is None:
            break
    return measured


def _cast(model: nn.Module, feeds: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[nn.Module, tuple[Tensor, ...]]:
    module = nn.Module.to(private_copy(model), dtype)  # of the base class: a library's own may have opinions
    return module, tuple(feed.to(dtype) if feed.is_floating_point() else feed for feed in feeds)


def cut_in_two(recipe: Recipe, feeds: tuple[Tensor, ...], measured: Measured) -> Recipe | None:
    """A recipe for an encoder whose one tensor holds mean and scale side by side, if that is what was measured."""
    if not measured.draws:
        return None
    module, cast = _cast(recipe.module, feeds, measured.draws[0][0].dtype)
    code = read_encoded(recipe.encode(module, *cast)).code
    for axis in (1, -1):
        if code is not None and code.ndim > 1 and code.shape[axis] % 2 == 0 and identify(code.chunk(2, axis), measured):
            note = f"the tensor of encode holds mean and scale, cut in two along axis {axis}"
            return dataclasses.replace(recipe, encode=_halved(recipe.encode, axis), notes=(*recipe.notes, note))
    return None


def _halved(encode: Encode, axis: int) -> Encode:
    return lambda m, *values: tuple(code_of(read_encoded(encode(m, *values))).chunk(2, axis))


def determine_scale_form(
    recipe: Recipe, feeds: tuple[Tensor, ...], encoded: Encoded, measured: Measured, *, declared: ScaleForm | None
) -> tuple[Role | None, ScaleForm, str]:
    """Which tensors are what, which form the scale has, and how that is known.

    Args:
        encoded: what ``encode`` returned for ``feeds``. measured: what the probe saw in the model's forward.
        declared: what the user says the form is; it must not contradict the measurement.

    Raises:
        AdaptError: the form is neither declared, named nor measured, or is measured to be another.
    """
    known = declared or recipe.scale_form
    roles = _measured_roles(recipe, feeds, measured)
    forms = {role.scale_form for role in roles}
    if known is not None and forms and known not in forms:
        raise AdaptError(
            f"scale_form is declared as {known!r}, and the model's own forward uses it as "
            f"{' or '.join(sorted(forms))}: pass scale_form={sorted(forms)[0]!r}"
        )
    if known is not None and len({(r.mean, r.parameter) for r in roles if r.scale_form == known}) <= 1:
        role = next((r for r in roles if r.scale_form == known), None)
        if role is None and not encoded.pairs and len(encoded.unnamed) != 2:
            raise AdaptError(f"encode returns {encoded.how}: return two, encode=lambda m, x: (mean, {known})")
        said = "declared" if declared else recipe.scale_known
        how_known = "measured in its forward"
        if not roles:
            how_known = said if said != "declared" else f"declared, not measured ({_why_not(encoded, measured)})"
        return role or (None if encoded.pairs else Role(0, 1, known)), known, _in_words(known, how_known)
    if len(roles) == 1:
        role = roles.pop()
        form, where = role.scale_form, f"; value {role.mean} is the mean, value {role.parameter} the scale"
        if encoded.pairs:
            return None, form, _in_words(form, "measured in its forward")
        return role, form, _in_words(form, f"measured in its forward{where}")
    if encoded.scale_form is not None and not roles:
        form, reason = encoded.scale_form, _why_not(encoded, measured)
        return None, form, _in_words(form, f"by its name; not measured ({reason})")
    remedy = f"pass scale_form=, one of {', '.join(TO_LOGVAR)}"
    if roles:
        raise AdaptError(f"the scale could be {' or '.join(sorted(forms))} on these rows: {remedy}")
    shown = "" if len(encoded.unnamed) == 2 or encoded.pairs else ", with encode=lambda m, x: (mean, scale)"
    reason = _why_not(encoded, measured)
    raise AdaptError(f"encode returns {encoded.how}, and what the scale is cannot be told ({reason}): {remedy}{shown}")


def _in_words(form: ScaleForm, how_known: str) -> str:
    """What the second value of an encoder is; the option is named, for who knows better."""
    return f"the spread of a latent is given as {form} (scale_form): {how_known}"


def _measured_roles(recipe: Recipe, feeds: tuple[Tensor, ...], measured: Measured) -> set[Role]:
    """Every reading of the encoder's tensors that fits what was drawn; of several latents what fits all of them."""
    if not measured.draws:
        return set()
    module, cast = _cast(recipe.module, feeds, measured.draws[0][0].dtype)
    encoded = read_encoded(recipe.encode(module, *cast))
    if not encoded.pairs:
        return identify(encoded.unnamed, measured)
    per_pair = [{role for role in identify(pair, measured) if role.mean == 0} for pair in encoded.pairs]
    return set.intersection(*per_pair)


def _why_not(encoded: Encoded, measured: Measured) -> str:
    """Why the measurement says nothing about these tensors."""
    tensors = (*encoded.unnamed, *(tensor for pair in encoded.pairs for tensor in pair))
    spreads = [std for mean, std in measured.draws if any(mean.shape == tensor.shape for tensor in tensors)]
    if spreads:
        low, high = float(spreads[-1].min()), float(spreads[-1].max())
        return (
            f"in its forward a standard deviation of {low:.3g} to {high:.3g} was measured, which "
            "none of them gives: if forward does more before or after encode, write that, encode=lambda m, x: …"
        )
    return measured.problem or "its forward draws no noise around the mean"
