"""Where a traced forward chooses its codes: an argmin or argmax over a codebook, and what is looked up for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .dependence import ancestors, separates, way_around
from .forward_trace import ForwardTrace, line_of
from .operations import PASSES, name_of
from .reasons import NotCut

aten: Any = torch.ops.aten
_CHOOSES = ("argmin", "argmax")
_WITH_VALUES = ("min", "max", "topk")


@dataclass(frozen=True, eq=False)
class Codes:
    """The cut of a VQ model.

    Attributes:
        chosen: the node that chooses. indices: the same, (n, positions). z_q: the first float that follows.
        codes: in the codebook.
        further: of several codebooks, as in residual quantisation, the choices after the first, (n, positions) each.
    """

    chosen: fx.Node
    indices: fx.Node
    z_q: fx.Node
    codes: int
    further: tuple[fx.Node, ...] = ()


def codes_of(traced: ForwardTrace) -> list[fx.Node]:
    """Nodes that choose an index by a value that depends on the rows."""
    return [n for n in traced.graph_module.graph.nodes if _chooses(n) and traced.x in ancestors([n])]


def _chooses(node: fx.Node) -> bool:
    name = name_of(node)
    if name in _CHOOSES:
        return True
    if name != "getitem":
        return False
    source, at = node.args
    return bool(at == 1 and isinstance(source, fx.Node) and name_of(source) in _WITH_VALUES)


def find_codes(traced: ForwardTrace, chosen: Sequence[fx.Node], x_hats: Sequence[fx.Node]) -> Codes:
    """The choices through which alone rows reach their reconstruction: one, or one for each of several codebooks.

    Gradients passed straight through, h + (q - h).detach(), are taken out of the graph.

    Raises:
        NotCut: there is none, there is a way around them, or codebooks differ in size.
    """
    _without_straight_through(traced.graph_module.graph)
    used = [node for node in chosen if node in ancestors(x_hats)]
    if not used:
        raise NotCut("what its forward reconstructs takes no codes from a codebook")
    node = used[0]
    if not separates(used, traced.x, x_hats):
        around = way_around(used, traced.x, x_hats)
        raise NotCut(
            f"what follows its codes also takes what comes before them (in {name_of(around)}{line_of(around)})"
        )
    known = set(used)
    after = [n for n in traced.graph_module.graph.nodes if n not in known and known <= ancestors([n])]
    floats = [n for n in after if n in ancestors(x_hats) and _is_rows_of_floats(n, traced)]
    if not floats:
        raise NotCut(f"nothing is looked up for the codes it chooses{line_of(node)}")
    if len(used) > 1:
        return _several(traced, used, floats[0])
    return _with_the_batch_first(traced, node, floats[0])


def rounded_of(traced: ForwardTrace) -> list[fx.Node]:
    """Nodes that round a value which depends on the rows."""
    return [n for n in traced.graph_module.graph.nodes if name_of(n) == "round" and traced.x in ancestors([n])]


def find_rounded(traced: ForwardTrace, rounded: Sequence[fx.Node], x_hats: Sequence[fx.Node]) -> fx.Node:
    """The one rounding through which alone rows reach their reconstruction.

    Raises:
        NotCut: there is none, or more than one, or a way around it.
    """
    _without_straight_through(traced.graph_module.graph)
    used = [node for node in rounded if node in ancestors(x_hats)]
    if len(used) != 1 or not separates(used, traced.x, x_hats):
        raise NotCut(
            f"its forward rounds{line_of(rounded[0])}, and rows reach what it reconstructs by {len(used)} roundings or "
            "around them: pass encode= that gives the rounded codes, and decode= that takes them"
        )
    return used[0]


def _several(traced: ForwardTrace, used: Sequence[fx.Node], z_q: fx.Node) -> Codes:
    """Codes of several codebooks of one size, each chosen with the batch first."""
    sizes = sorted({_codes_at(node) for node in used})
    if len(sizes) > 1:
        raise NotCut(f"its codebooks hold {' and '.join(map(str, sizes))} codes; several of one size are understood")
    if wrong := [node for node in used if not _is_batch_first(node, traced)]:
        raise NotCut(f"the codes chosen{line_of(wrong[0])} number all rows in one axis: keep the batch first")
    return Codes(used[0], used[0], z_q, sizes[0], tuple(used[1:]))


def _is_batch_first(node: fx.Node, traced: ForwardTrace) -> bool:
    value = node.meta["val"]
    return value.ndim >= 2 and not isinstance(value.shape[0], int) and value.shape[0].node.hint == traced.rows


def _codes_at(node: fx.Node) -> int:
    """Of the codebook that a node chooses from."""
    source: Any = node if name_of(node) != "getitem" else node.args[0]
    return int(source.args[0].meta["val"].shape[_axis(source)])


def _with_the_batch_first(traced: ForwardTrace, node: fx.Node, z_q: fx.Node) -> Codes:
    """Indices as (n, positions): a model may number all positions of all rows in one axis."""
    graph, indices = traced.graph_module.graph, node
    value = node.meta["val"]
    per_row = value.numel()
    hint = per_row.node.hint if not isinstance(per_row, int) else per_row
    rows = traced.rows
    if not _is_batch_first(node, traced):
        with graph.inserting_after(node):
            size = graph.call_function(aten.sym_size.int, (traced.x, 0))
        with graph.inserting_after(size):
            indices = graph.call_function(aten.reshape.default, (node, [size, hint // rows]))
        indices.meta["val"] = torch.empty((rows, hint // rows), dtype=torch.int64, device="meta")
        with graph.inserting_after(indices):
            back = graph.call_function(aten.reshape.default, (indices, _sizes(node)))
        back.meta["val"] = value
        for user in [user for user in node.users if user is not indices]:
            user.replace_input_with(node, back)
    return Codes(node, indices, z_q, _codes_at(node))


def _sizes(node: fx.Node) -> list[Any]:
    """The shape of a node, whose one free axis is a multiple of the batch: -1 there."""
    return [s if isinstance(s, int) else -1 for s in node.meta["val"].shape]


def _axis(node: fx.Node) -> int:
    at = 2 if name_of(node) == "topk" else 1
    axis: Any = node.args[at] if len(node.args) > at else node.kwargs.get("dim", -1)
    return -1 if axis is None else int(axis)


def _is_rows_of_floats(node: fx.Node, traced: ForwardTrace) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 2:
        return False
    first = value.shape[0]
    return not isinstance(first, int) and first.node.hint == traced.rows


def _without_straight_through(graph: fx.Graph) -> None:
    """H + (q - h).detach() is q."""
    for node in list(graph.nodes):
        if name_of(node) != "add" or node.kwargs or len(node.args) != 2:
            continue
        for kept, difference in (node.args, node.args[::-1]):
            inner = _plain(difference)
            if (
                isinstance(kept, fx.Node)
                and inner is not None
                and name_of(inner) == "sub"
                and not inner.kwargs
                and _plain(inner.args[1]) is _plain(kept)
            ):
                node.replace_all_uses_with(inner.args[0])
                break


def _plain(value: Any) -> fx.Node | None:
    """A node behind copies."""
    while isinstance(value, fx.Node) and name_of(value) in PASSES:
        value = value.args[0]
    return value if isinstance(value, fx.Node) else None
