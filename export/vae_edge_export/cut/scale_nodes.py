"""From the node of a standard deviation back to the parameter that the model computes it from."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from ..adapters.scale_form import ScaleForm
from .operations import PASSES, name_of


def parameter_of(std: fx.Node) -> tuple[fx.Node, ScaleForm]:
    """The parameter behind a standard deviation and its form, such as logvar in exp(0.5 * logvar)."""
    std = _behind(std)
    name = name_of(std)
    if name == "exp":
        log_std = _behind(_argument(std))
        if (logvar := _halved(log_std)) is not None:
            return logvar, "logvar"
        return log_std, "log_std"
    if name == "softplus" and len(std.args) == 1 and not std.kwargs:
        return _argument(std), "softplus"
    if (variance := _rooted(std)) is not None:
        if name_of(variance) == "exp":
            return _argument(variance), "logvar"
        return variance, "var"
    return std, "std"


def _behind(node: fx.Node) -> fx.Node:
    """A node behind copies and the broadcasting of distributions, where the shape stays."""
    while True:
        name = name_of(node)
        if name in PASSES or (name == "expand" and _same_shape(node, _argument(node))):
            inner = _argument(node)
        else:
            return node
        if not _same_shape(node, inner):
            return node
        node = inner


def _halved(node: fx.Node) -> fx.Node | None:
    name = name_of(node)
    if name == "mul":
        number, other = _number_and_node(node)
        return _behind(other) if other is not None and number == 0.5 else None
    if name == "div" and node.args[1] == 2:
        return _behind(_argument(node))
    return None


def _rooted(node: fx.Node) -> fx.Node | None:
    name = name_of(node)
    if name == "sqrt" or (name == "pow" and len(node.args) > 1 and node.args[1] == 0.5):
        return _behind(_argument(node))
    return None


def _number_and_node(node: fx.Node) -> tuple[float, fx.Node | None]:
    numbers = [float(value) for value in node.args if isinstance(value, (int, float))]
    nodes = [value for value in node.args if isinstance(value, fx.Node)]
    return (numbers[0], nodes[0]) if len(numbers) == 1 and len(nodes) == 1 else (math.nan, None)


def _argument(node: fx.Node) -> fx.Node:
    first: Any = node.args[0]
    return first  # type: ignore[no-any-return]


def _same_shape(a: Any, b: Any) -> bool:
    if not (isinstance(a, fx.Node) and isinstance(b, fx.Node)):
        return False
    first, second = a.meta.get("val"), b.meta.get("val")
    return first is not None and second is not None and tuple(first.shape) == tuple(second.shape)
