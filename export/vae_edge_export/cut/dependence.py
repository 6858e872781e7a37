"""Which nodes of a graph depend on which others, by value."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from .operations import reads_values_of


def ancestors(nodes: Iterable[fx.Node], *, cut: Iterable[fx.Node] = ()) -> set[fx.Node]:
    """The nodes and everything whose values they depend on; what lies before a node of ``cut`` is not followed."""
    stop = set(cut)
    seen: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in stop:
            waiting += reads_values_of(node)
    return seen


def separates(cut: Iterable[fx.Node], x: fx.Node, results: Iterable[fx.Node]) -> bool:
    """Whether results depend on ``x`` through the nodes of ``cut`` alone."""
    return x not in ancestors(results, cut=cut)


def way_around(cut: Iterable[fx.Node], x: fx.Node, results: Iterable[fx.Node]) -> fx.Node:
    """The first node after the cut that also takes what depends on ``x`` by another way."""
    stop = set(cut)
    after = ancestors(results, cut=stop) - stop
    behind = {node for node in after if stop & ancestors([node], cut=stop)}
    nodes: list[fx.Node] = list(x.graph.nodes)
    for node in nodes:
        if node in behind and any(
            source not in behind and source not in stop and x in ancestors([source], cut=stop)
            for source in reads_values_of(node)
        ):
            return node
    return next(iter(results))
