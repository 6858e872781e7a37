"""Which of an encoder's tensors is the mean, and what the other one is: measured, declared or named, in that order."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vae_edge_runtime.errors import AdaptError

from ..adapters import Encode, Recipe
from ..adapters.scale import TO_LOGVAR, Scale
from .normalise import Encoded, read_encoded
from .probe import Measured, Role, identify, measure
from .vae import code_of


def private_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode and float32, without gradients.

    Raises:
        AdaptError: a weight is not there or not finite, or the module cannot be copied.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor) or tensor.is_meta:
            raise AdaptError(f"weight {name} has no values yet: load weights, or run the model once (lazy layers)")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AdaptError(f"weight {name} holds NaN or infinity: export an earlier checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about itself, when it copies an exported program
            module = copy.deepcopy(model, _cached_tensors(model)).cpu()
    except Exception as error:
        raise AdaptError(
            f"the model cannot be copied ({error}): detach stored graph tensors before exporting"
        ) from error
    module = nn.Module.float(module)
    for part in module.modules():
        part.training = False  # as eval() does, which an exported program refuses to be asked for
    for parameter in module.parameters():
        if parameter.is_leaf:  # those of a copied TorchScript module are not
            parameter.requires_grad_(False)
    return module


def _cached_tensors(model: nn.Module) -> dict[int, Tensor]:
    """Results a module keeps as attributes (the weight of weight norm), which copy only without their history."""
    kept = [value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}


def measure_posterior(recipe: Recipe, feeds: tuple[Tensor, ...]) -> Measured:
    """The probe on a float64 copy, where differences keep their digits; on a float32 one if that fails."""
    if recipe.forward is None or not recipe.can_run:
        return Measured(problem="it has no forward to measure")
    forward = recipe.forward
    found = Measured(problem="not run")
    for dtype in (torch.float64, torch.float32):
        module, cast = _cast(recipe.module, feeds, dtype)
        found = measure(module, lambda m, cast=cast: (recipe.encode(m, *cast), forward(m, *cast)))  # type: ignore[misc]
        if found.problem is None:
            break
    return found


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


def scale_of(
    recipe: Recipe, feeds: tuple[Tensor, ...], found: Encoded, measured: Measured, *, declared: Scale | None
) -> tuple[Role | None, Scale, str]:
    """Which tensors are what, which form the scale has, and how that is known."""
    known = declared or recipe.scale
    roles: set[Role] = set()
    if measured.draws:
        dtype = measured.draws[0][0].dtype
        module, cast = _cast(recipe.module, feeds, dtype)
        again = read_encoded(recipe.encode(module, *cast))
        if again.pairs:
            per_pair = [{role for role in identify(pair, measured) if role.mean == 0} for pair in again.pairs]
            roles = set.intersection(*per_pair)
        else:
            roles = identify(again.unnamed, measured)
    forms = {role.scale for role in roles}
    if known is not None and forms and known not in forms:
        raise AdaptError(
            f"scale is declared as {known!r}, and the model's own forward uses it as {' or '.join(sorted(forms))}: "
            f"pass scale={sorted(forms)[0]!r}"
        )
    if known is not None and len({(r.mean, r.parameter) for r in roles if r.scale == known}) <= 1:
        role = next((r for r in roles if r.scale == known), None)
        if role is None and not found.pairs and len(found.unnamed) != 2:
            raise AdaptError(f"encode returns {found.how}: return two, encode=lambda m, x: (mean, {known})")
        checked = "measured in its forward" if roles else f"declared, not measured ({_why_not(found, measured)})"
        return role or (None if found.pairs else Role(0, 1, known)), known, f"scale: {known}, {checked}"
    if len(roles) == 1:
        role = roles.pop()
        where = "" if found.pairs else f"; value {role.mean} is the mean, value {role.parameter} the scale"
        return None if found.pairs else role, role.scale, f"scale: {role.scale}, measured in its forward{where}"
    if found.scale is not None and not roles:
        return None, found.scale, f"scale: {found.scale}, by its name; not measured ({_why_not(found, measured)})"
    valid = f"pass scale=, one of {', '.join(TO_LOGVAR)}"
    if roles:
        raise AdaptError(f"the scale could be {' or '.join(sorted(forms))} on these rows: {valid}")
    shown = "" if len(found.unnamed) == 2 or found.pairs else ", with encode=lambda m, x: (mean, scale)"
    reason = _why_not(found, measured)
    raise AdaptError(f"encode returns {found.how}, and what the scale is cannot be told ({reason}): {valid}{shown}")


def _why_not(found: Encoded, measured: Measured) -> str:
    """Why the measurement says nothing about these tensors."""
    tensors = (*found.unnamed, *(tensor for pair in found.pairs for tensor in pair))
    spreads = [std for mean, std in measured.draws if any(mean.shape == tensor.shape for tensor in tensors)]
    if spreads:
        low, high = float(spreads[-1].min()), float(spreads[-1].max())
        return (
            f"in its forward a standard deviation of {low:.3g} to {high:.3g} was measured, which "
            "none of them gives: if forward does more before or after encode, write that, encode=lambda m, x: …"
        )
    return measured.problem or "its forward draws no noise around the mean"
