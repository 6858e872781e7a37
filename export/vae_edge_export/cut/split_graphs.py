"""The two halves of a cut graph, as modules of their own."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from .forward_trace import ForwardTrace
from .operations import CREATES, LIKE, is_dropout, kept_by_dropout, name_of

aten: Any = torch.ops.aten


def extracted(
    traced: ForwardTrace,
    results: Sequence[fx.Node],
    inputs: Mapping[str, fx.Node],
    *,
    replaced: Mapping[fx.Node, fx.Node],
    zeroed: Sequence[fx.Node],
) -> fx.GraphModule:
    """The part of a graph that computes ``results`` from ``inputs``.

    Args:
        inputs: name to the node that becomes this placeholder. The first has the batch size.
        replaced: node to the one whose value is taken in its place: a draw by its mean.
        zeroed: noises, 0 here.
    """
    return _Extraction(traced, inputs, replaced, zeroed).module(results)


class _Extraction:
    def __init__(
        self,
        traced: ForwardTrace,
        inputs: Mapping[str, fx.Node],
        replaced: Mapping[fx.Node, fx.Node],
        zeroed: Sequence[fx.Node],
    ) -> None:
        self.traced, self.replaced, self.zeroed = traced, dict(replaced), set(zeroed)
        self.graph = fx.Graph()
        self.made: dict[fx.Node, fx.Node] = {}
        for name, node in inputs.items():
            self.made[node] = self.graph.placeholder(name)
        self.anchor = next(iter(self.made.values()))

    def module(self, results: Sequence[fx.Node]) -> fx.GraphModule:
        wanted = self._wanted(results)
        for node in self.traced.graph_module.graph.nodes:
            if node in wanted and node not in self.made and node not in self.replaced:
                self.made[node] = self._copy(node)
        self.graph.output(tuple(self._of(node) for node in results))
        self.graph.lint()
        return fx.GraphModule(self.traced.graph_module, self.graph)

    def _wanted(self, results: Sequence[fx.Node]) -> set[fx.Node]:
        seen: set[fx.Node] = set()
        waiting = list(results)
        while waiting:
            node = waiting.pop()
            node = self.replaced.get(node, node)
            if node in seen:
                continue
            seen.add(node)
            if is_dropout(node):
                waiting.append(kept_by_dropout(node))
            elif node not in self.made and node not in self.zeroed and not self._is_shape(node):
                waiting += node.all_input_nodes
        return seen

    def _of(self, node: fx.Node) -> fx.Node:
        return self.made[self.replaced.get(node, node)]

    def _is_shape(self, node: fx.Node) -> bool:
        """Whether a node is known from the batch size alone."""
        return name_of(node) in ("sym_size", "full_like", "new_full", *LIKE, *CREATES) and isinstance(
            node.meta.get("val"), (Tensor, torch.SymInt)
        )

    def _copy(self, node: fx.Node) -> fx.Node:
        if node in self.zeroed:
            return self._filled(node, 0.0)
        if self._is_shape(node):
            return self._shape_node(node)
        if is_dropout(node):
            return self._of(kept_by_dropout(node))
        copied: fx.Node = self.graph.node_copy(node, self._of)
        return copied

    def _shape_node(self, node: fx.Node) -> fx.Node:
        name = name_of(node)
        if name == "sym_size":
            size: fx.Node = self._size(node.meta["val"])
            return size
        if name in ("full_like", "new_full"):
            value: Any = node.args[1 if name == "full_like" else 2]
        else:
            value = {**LIKE, **CREATES}[name]
        return self._filled(node, value)

    def _filled(self, node: fx.Node, value: float) -> fx.Node:
        """A tensor of one value, of the anchor's type where it is of floats."""
        like = node.meta["val"]
        size = [self._size(n) for n in like.shape]
        kept = {} if like.dtype == torch.float32 and self._is_float_anchor() else {"dtype": like.dtype}
        return self.graph.call_function(aten.new_full.default, (self.anchor, size, value), kept)

    def _is_float_anchor(self) -> bool:
        source = next(node for node, made in self.made.items() if made is self.anchor)
        return bool(source.meta["val"].is_floating_point())

    def _size(self, size: Any) -> Any:
        """A size as a number, or as a node: a multiple of the batch size."""
        if isinstance(size, int):
            return size
        rows = self.graph.call_function(aten.sym_size.int, (self.anchor, 0))
        times = size.node.hint // self.traced.rows
        result: fx.Node = rows if times == 1 else self.graph.call_function(operator.mul, (rows, times))
        return result
