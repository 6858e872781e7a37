"""A model cut in two: its own forward beside an encoder and a decoder made of that forward's graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..adapters import Recipe
from ..adapters.recipe import AT_CODES, AT_NOISE, AT_ROUNDING
from ..adapters.scale_form import ScaleForm
from .affine import Follower, Line
from .codes import codes_of, find_codes, find_rounded, rounded_of
from .forward_trace import ForwardTrace, WholeForward, line_of, trace_forward, whole_forward
from .latents import find_latents, noises_of
from .operations import OTHER_RANDOM, name_of
from .proof import prove
from .reasons import NotCut
from .results import reconstructions
from .scale_nodes import parameter_of
from .split_graphs import extracted

aten: Any = torch.ops.aten


class CutModel(nn.Module):
    """A forward and its halves, which share their weights.

    Attributes:
        encoder: x and condition to mean and scale parameter per latent, or to indices and z_q.
        decoder: latents or indices, and condition, to rows.
    """

    def __init__(self, whole: WholeForward, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.whole, self.encoder, self.decoder = whole, encoder, decoder

    def forward(self, x: Tensor, *condition: Tensor) -> tuple[Tensor, ...]:
        """What the model's own forward gives."""
        results: tuple[Tensor, ...] = self.whole(x, *condition)
        return results


def cut_recipe(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...], *, count: int, classes: bool) -> Recipe:
    """A recipe whose halves are cut out of the model's forward, and proven at noise 0, 1 and in between.

    Args:
        recipe: as found.
        module: a private copy in eval mode.
        feeds: rows in model units, and their condition.
        count: tensors that the decoder gives. classes: it gives logits of classes.

    Raises:
        NotCut: the forward cannot be traced, has no place to cut at, or the halves do not give what it gives.
    """
    whole = whole_forward(module, len(feeds) - 1)
    reasons: list[str] = []
    for flat, training in _ways(feeds):
        whole.flat_rows = flat
        try:
            traced = trace_forward(whole, feeds, training=training)
        except NotCut as reason:
            reasons.append(str(reason))
            continue
        noises, codes = noises_of(traced), codes_of(traced)
        if noises:
            return _at_noise(recipe, traced, noises, feeds, count=count, classes=classes)
        if codes:
            return _at_codes(recipe, traced, codes, feeds, count=count, classes=classes)
        if rounded := rounded_of(traced):
            return _at_rounding(recipe, traced, rounded, feeds, count=count, classes=classes)
        reasons.append(_nothing_to_cut_at(traced))
    raise NotCut(reasons[0])


def _nothing_to_cut_at(traced: ForwardTrace) -> str:
    for node in traced.graph_module.graph.nodes:
        if name_of(node) in OTHER_RANDOM:
            return f"its forward draws {name_of(node)}{line_of(node)}, which is no normal noise"
    return "its forward draws no normal noise, and takes no codes from a codebook"


def _ways(feeds: tuple[Tensor, ...]) -> list[tuple[bool, bool]]:
    """(rows flattened, training mode), in the order in which they are tried."""
    flat = [False, True] if feeds[0].ndim > 2 else [False]
    return [(f, training) for f in flat for training in (False, True)]


def _at_noise(
    recipe: Recipe,
    traced: ForwardTrace,
    noises: list[fx.Node],
    feeds: tuple[Tensor, ...],
    *,
    count: int,
    classes: bool,
) -> Recipe:
    x_hats = reconstructions(traced, noises, count=count, classes=classes)
    latents = find_latents(traced, x_hats)
    lines = [_full(line, traced) for line in latents.lines]
    parameters, form = _parameters(traced, lines, feeds)
    conditions = {f"condition_{at}": node for at, node in enumerate(traced.conditions)}
    kept = {line.node: line.mean for line in lines}
    # ``torch.normal(mean, std)`` draws around its mean; any other noise that is no latent is 0.
    around = {
        n: n.args[0] for n in noises if n not in kept and name_of(n) == "normal" and isinstance(n.args[0], fx.Node)
    }
    zeroed = [noise for noise in noises if noise not in around]
    encoder = extracted(
        traced,
        [node for line, parameter in zip(lines, parameters, strict=True) for node in (line.mean, parameter)],
        {"x": traced.x, **conditions},
        replaced={**around, **kept},
        zeroed=zeroed,
    )
    decoder = extracted(
        traced,
        x_hats,
        {**{f"z_{at}": line.node for at, line in enumerate(lines)}, **conditions},
        replaced=around,
        zeroed=zeroed,
    )
    cut = CutModel(traced.whole, encoder, decoder)
    prove(cut, traced, [line.node for line in lines], x_hats, feeds, lines)
    places = [f"the latent is drawn as z = mean + std * noise{line_of(line.node)}" for line in lines]
    notes = [*places, *latents.left_out]
    if traced.mode == "training":
        notes.append("its forward draws in training mode only, so it is split as it is in training")
    if latents.depend:
        notes.append("the posterior of a later latent depends on the draw of an earlier one: it is taken at its mean")
    several = len(lines) > 1
    return dataclasses.replace(
        recipe,
        name=AT_NOISE,
        module=cut,
        missing=None,
        encode=_encode_several if several else _encode_one,
        decode=_decode_several if several else _decode_one,
        forward=lambda m, x, *condition: m.whole(x, *condition),
        scale_form=form,
        scale_known="read from its graph, and proven at noise 0, 1 and -0.5",
        has_kl=not latents.depend,
        notes=tuple(notes),
    )


def _at_codes(
    recipe: Recipe, traced: ForwardTrace, codes: list[fx.Node], feeds: tuple[Tensor, ...], *, count: int, classes: bool
) -> Recipe:
    x_hats = reconstructions(traced, codes, count=count, classes=classes)
    found = find_codes(traced, codes, x_hats)
    conditions = {f"condition_{at}": node for at, node in enumerate(traced.conditions)}
    chosen = [found.indices, *found.further]
    encoder = extracted(traced, [*chosen, found.z_q], {"x": traced.x, **conditions}, replaced={}, zeroed=[])
    given = {f"indices_{at}": node for at, node in enumerate(chosen)}
    decoder = extracted(traced, x_hats, {**given, **conditions}, replaced={}, zeroed=[])
    cut = CutModel(traced.whole, encoder, decoder)
    prove(cut, traced, chosen, x_hats, feeds)
    shapes = [tuple(node.meta["val"].shape[1:]) for node in chosen]
    books = f"{len(chosen)} codebooks of {found.codes} each" if found.further else f"codebook of {found.codes}"
    return dataclasses.replace(
        recipe,
        name=AT_CODES,
        module=cut,
        missing=None,
        encode=_encode_stacked if found.further else _encode_one,
        decode=_decode_stacked(shapes) if found.further else _decode_one,
        forward=lambda m, x, *condition: m.whole(x, *condition),
        codebook=found.codes,
        has_kl=False,
        notes=(f"the codes are the indices of its {books}{line_of(found.chosen)}",),
    )


def _at_rounding(
    recipe: Recipe,
    traced: ForwardTrace,
    rounded: list[fx.Node],
    feeds: tuple[Tensor, ...],
    *,
    count: int,
    classes: bool,
) -> Recipe:
    """Finite scalar quantisation: the code is what was rounded, and there is no table of codes."""
    x_hats = reconstructions(traced, rounded, count=count, classes=classes)
    node = find_rounded(traced, rounded, x_hats)
    conditions = {f"condition_{at}": each for at, each in enumerate(traced.conditions)}
    encoder = extracted(traced, [node], {"x": traced.x, **conditions}, replaced={}, zeroed=[])
    decoder = extracted(traced, x_hats, {"code": node, **conditions}, replaced={}, zeroed=[])
    cut = CutModel(traced.whole, encoder, decoder)
    prove(cut, traced, [node], x_hats, feeds)
    return dataclasses.replace(
        recipe,
        name=AT_ROUNDING,
        module=cut,
        missing=None,
        encode=lambda m, x, *condition: m.encoder(x, *condition)[0],
        decode=_decode_one,
        forward=lambda m, x, *condition: m.whole(x, *condition),
        has_kl=False,
        notes=(f"the code holds the rounded values{line_of(node)}; samples of a fitted prior are not rounded",),
    )


def _full(line: Line, traced: ForwardTrace) -> Line:
    """The line with mean and std as nodes of the shape of z."""
    follower = Follower(line.node, set(), traced.x)
    if not isinstance(line.mean, fx.Node):
        raise NotCut(f"what is drawn{line_of(line.node)} has a mean that does not depend on the rows")
    order = {node: at for at, node in enumerate(traced.graph_module.graph.nodes)}
    with line.node.graph.inserting_before(min(line.node.users, key=lambda user: order[user])):
        mean = follower.shaped(line.mean, line.node)
        std = follower.shaped(1.0 if line.std is None else line.std, line.node)
    return dataclasses.replace(line, mean=mean, std=std)


def _parameters(
    traced: ForwardTrace, lines: Sequence[Line], feeds: tuple[Tensor, ...]
) -> tuple[list[fx.Node], ScaleForm]:
    """The scale parameter of every latent in one form: the model's own where it is one, else the std."""
    own = [parameter_of(line.std) for line in lines]
    forms = {form for _, form in own}
    whole = [tuple(n.meta["val"].shape) == tuple(line.node.meta["val"].shape) if "val" in n.meta else False
             for (n, _), line in zip(own, lines, strict=True)]  # fmt: skip
    if len(forms) == 1 and all(whole) and "std" not in forms:
        return [node for node, _ in own], forms.pop()
    stds = []
    for line in lines:
        with traced.graph_module.graph.inserting_after(line.std):
            positive = traced.graph_module.graph.call_function(aten.abs.default, (line.std,))
            positive.meta["val"] = line.std.meta["val"]
            stds.append(positive)
    return stds, "std"


def _encode_one(m: Any, x: Tensor, *condition: Tensor) -> Any:
    return tuple(m.encoder(x, *condition))


def _encode_stacked(m: Any, x: Tensor, *condition: Tensor) -> Any:
    """Indices (n, codebooks, positions) and z_q."""
    *indices, z_q = m.encoder(x, *condition)
    return torch.stack([each.flatten(1) for each in indices], 1), z_q


def _decode_stacked(shapes: Sequence[tuple[int, ...]]) -> Callable[..., Any]:
    """Decode (n, codebooks, positions); ``shapes``: of the codes of one row, by codebook."""

    def decode(m: Any, indices: Tensor, *condition: Tensor) -> Any:
        parts = [indices[:, at].reshape(-1, *shape) for at, shape in enumerate(shapes)]
        return tuple(m.decoder(*parts, *condition))

    return decode


def _encode_several(m: Any, x: Tensor, *condition: Tensor) -> Any:
    values = m.encoder(x, *condition)
    return [(values[at], values[at + 1]) for at in range(0, len(values), 2)]


def _decode_one(m: Any, z: Tensor, *condition: Tensor) -> Any:
    return tuple(m.decoder(z, *condition))


def _decode_several(m: Any, latents: list[Tensor], *condition: Tensor) -> Any:
    return tuple(m.decoder(*latents, *condition))
