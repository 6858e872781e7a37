"""Follow shapes and small constants through a graph, and refuse what an engine would not survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import GraphRefused
from ..record import record
from .limits import MAX_RANK, MOST_ROWS
from .onnx_ranges import problem_of
from .onnx_shapes import infer
from .onnx_values import Node, Value
from .onnx_wire import Message


@record(frozen=True)
class GraphNode:
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
) -> None:
    """Look at every node for one row, and for the most rows of one run.

    Args:
        inputs: name to (element type, dimensions); a dimension that is no number is the number of rows.
        constants: the initializers.

    Raises:
        GraphRefused: nodes out of order, a size above the limit or one that the graph does not tell, or an
            attribute or a constant index out of the range that engines need.
    """
    for dims in (dims for _, dims in inputs.values()):
        if len(dims) > MAX_RANK:
            raise GraphRefused(f"an input has {len(dims)} dimensions; the limit is {MAX_RANK}")
    for rows in (1, MOST_ROWS):
        _look(nodes, inputs, constants, opset, rows)


def _look(
    nodes: Sequence[GraphNode],
    inputs: Mapping[str, tuple[int, tuple[int | str | None, ...]]],
    constants: Mapping[str, Value],
    opset: int,
    rows: int,
) -> None:
    values: dict[str, Value | None] = dict(constants)
    for name, (element, dims) in inputs.items():
        values[name] = Value(tuple(n if isinstance(n, int) else rows for n in dims), element)
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
        made = infer(node, graph_node.constant)
        if problem := problem_of(node, made, rows):
            raise GraphRefused(f"{graph_node.where}: {problem}")
        for name, value in zip(graph_node.outputs, made, strict=True):
            if name and name in values:
                raise GraphRefused(f"{graph_node.where}: makes {name!r:.60}, which there is already")
            if name:
                values[name] = value
