"""Follow shapes and small constants through a graph, and refuse what an engine would not survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from ..errors import GraphRefused
from .limits import MAX_RANK, MOST_ROWS
from .onnx_ranges import wrong_node, wrong_size
from .onnx_shapes import infer
from .onnx_values import Mismatch, Node, Value
from .onnx_wire import Message

SOME_ROWS = 61
"""A number that no model has as a size."""


class GraphNode(NamedTuple):
    """One node as it is written.

    Attributes:
        where: for messages: its number, operator and name.
        constant: the tensor among its attributes, if there is one.
    """

    where: str
    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Message]
    constant: Value | None


def follow(
    nodes: Sequence[GraphNode],
    inputs: Mapping[str, tuple[int, tuple[int | str | None, ...]]],
    constants: Mapping[str, Value],
    opset: int,
    sizes: Mapping[str, int] | None = None,
) -> int:
    """Look at every node for one row and for many.

    Returns:
        The most bytes of values that one row needs at the same time, inputs and outputs among them.

    Args:
        inputs: name to (element type, dimensions); a name as a dimension is the number of rows, or one of ``sizes``.
        constants: the initializers.
        sizes: of named dimensions beside the rows, such as a free height.

    Raises:
        GraphRefused: nodes out of order, a size above the limit or one that the graph does not tell, or an
            attribute or a constant index out of the range that engines need.
    """
    for _, dims in inputs.values():
        if len(dims) > MAX_RANK or 0 in dims:
            raise GraphRefused(f"an input has the shape {list(dims[: MAX_RANK + 1])}, which is not one of rows")
    given = sizes or {}
    inputs = {name: (element, tuple(given.get(n, n) if isinstance(n, str) else n for n in dims))
              for name, (element, dims) in inputs.items()}  # fmt: skip
    seen, values = _look(nodes, inputs, constants, opset, 1)
    _look(nodes, inputs, constants, opset, SOME_ROWS)
    if SOME_ROWS in seen:  # of a constant, which may fit that number of rows by chance
        _look(nodes, inputs, constants, opset, MOST_ROWS)
    return _most_bytes(nodes, {name: value for name, value in values.items() if name not in constants})


def _look(
    nodes: Sequence[GraphNode],
    inputs: Mapping[str, tuple[int, tuple[int | str | None, ...]]],
    constants: Mapping[str, Value],
    opset: int,
    rows: int,
) -> tuple[set[int], dict[str, Value | None]]:
    """Look at every node for one number of rows; the sizes of all axes, and every value by name."""
    sizes: set[int] = set()
    values: dict[str, Value | None] = dict(constants)
    for name, (element, dims) in inputs.items():
        shape = None if None in dims else tuple(n if isinstance(n, int) else rows for n in dims)
        values[name] = Value(shape, element)
    for constant in constants.values():
        sizes.update(constant.shape or ())
    values[""] = None  # an optional input that is left out
    for graph_node in nodes:
        for name in graph_node.inputs:
            if name not in values:
                raise GraphRefused(f"{graph_node.where}: takes {name!r:.60}, which nothing before it makes")
        node = Node(
            graph_node.op,
            [values[name] for name in graph_node.inputs],
            len(graph_node.outputs),
            graph_node.attributes,
            opset,
        )
        if problem := wrong_node(node):
            raise GraphRefused(f"{graph_node.where}: {problem}")
        try:
            made = infer(node, graph_node.constant)
        except Mismatch as mismatch:
            raise GraphRefused(f"{graph_node.where}: has {mismatch}") from None
        if problem := wrong_size(node, made, rows):
            raise GraphRefused(f"{graph_node.where}: {problem}")
        for name, value in zip(graph_node.outputs, made, strict=True):
            if name and name in values:
                raise GraphRefused(f"{graph_node.where}: makes {name!r:.60}, which there is already")
            if name:
                values[name] = value
            sizes.update(value.shape or ())
    return sizes, values


def _most_bytes(nodes: Sequence[GraphNode], values: Mapping[str, Value | None]) -> int:
    """The most bytes alive at one node: a value lives from the node that makes it to the last one that takes it."""
    last = {name: at for at, node in enumerate(nodes) for name in node.inputs}
    made_here = {name for node in nodes for name in node.outputs}
    alive = {name: _bytes(value) for name, value in values.items() if name and name not in made_here}
    most = total = sum(alive.values())
    for at, node in enumerate(nodes):
        made = {name: _bytes(values.get(name)) for name in node.outputs if name}
        alive |= made
        total += sum(made.values())
        most = max(most, total)
        for name in {*node.inputs}:
            if last.get(name) == at:
                total -= alive.pop(name, 0)
    return most


def _bytes(value: Value | None) -> int:
    """Of a value of four bytes an element; 0 where its shape is not known."""
    return 0 if value is None or value.shape is None else 4 * prod(value.shape)
