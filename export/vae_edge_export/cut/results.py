"""Which of a forward's results is the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, fx

from ..halves.normalise import DECODED_NAMES
from .dependence import ancestors
from .forward_trace import ForwardTrace, elements, line_of
from .operations import PASSES, RESHAPES, name_of
from .reasons import NotCut


def reconstructions(traced: ForwardTrace, sources: Sequence[fx.Node], *, count: int, classes: bool) -> list[fx.Node]:
    """The ``count`` nodes that are what a decoder gives.

    Args:
        sources: noises or codes; a reconstruction depends on one of them.
        classes: it has an axis of classes behind the batch.

    Raises:
        NotCut: there is none, or more than one could be meant.
    """
    size = math.prod(traced.row_shape)

    def has_size(node: fx.Node) -> bool:
        if not isinstance(node, fx.Node):
            return False
        found = elements(node)
        if classes:
            value = node.meta.get("val")
            return isinstance(value, Tensor) and tuple(value.shape[2:]) == traced.row_shape and value.ndim > 2
        return found == size

    def depends(node: fx.Node) -> bool:
        return bool(set(sources) & ancestors([node]))

    candidates = dict.fromkeys(node for _, node in traced.outputs if has_size(node) and depends(node))
    if not candidates:
        candidates = dict.fromkeys(_compared_with_rows(traced, has_size, depends))
    if not candidates:
        raise NotCut("nothing of the shape of a row that depends on them is among what its forward returns")
    if count == 2 and len(candidates) == 2:
        return list(candidates)
    if len(candidates) > 1:
        named = [node for name, node in traced.outputs if node in candidates and name in DECODED_NAMES]
        last = [n for n in candidates if not any(n in ancestors([o]) for o in candidates if o is not n)]
        for fewer in (dict.fromkeys(named), dict.fromkeys(last)):
            if len(fewer) == count:
                return list(fewer)
        places = ", ".join(f"{name_of(node)}{line_of(node)}" for node in candidates)
        raise NotCut(f"its forward gives {len(candidates)} results of the shape of a row ({places})")
    if count != 1:
        raise NotCut("its forward gives one result of the shape of a row, and the likelihood needs a pair")
    return list(candidates)


def _compared_with_rows(
    traced: ForwardTrace, has_size: Callable[[fx.Node], bool], depends: Callable[[fx.Node], bool]
) -> list[fx.Node]:
    """Of a forward that returns a loss: what it compares with the rows."""
    rows = {traced.x}
    for node in traced.graph_module.graph.nodes:
        if name_of(node) in (*PASSES, *RESHAPES) and node.args and node.args[0] in rows:
            rows.add(node)
    compared = []
    for node in traced.graph_module.graph.nodes:
        inputs = set(node.all_input_nodes)
        if inputs & rows:
            compared += [other for other in inputs - rows if has_size(other) and depends(other)]
    return compared
