"""z = mean + std * noise, followed through a graph operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from .dependence import ancestors
from .operations import RESHAPES, name_of

aten: Any = torch.ops.aten
Factor = Any
"""A node, a number, or None: 1 for a std, 0 for a mean."""


@dataclass(frozen=True)
class Line:
    """A node as std * noise + mean.

    Attributes:
        absorbed: whether mean or std depend on rows.
    """

    node: fx.Node
    std: Factor
    mean: Factor
    absorbed: bool


class Follower:
    """Follows one noise through the nodes that keep it on a line, and adds nodes for its mean and std."""

    def __init__(self, noise: fx.Node, relevant: set[fx.Node], x: fx.Node) -> None:
        self.noise, self.relevant, self.x = noise, relevant, x
        self.graph = noise.graph

    def lines(self) -> list[Line]:
        """Every node from the noise on that is std * noise + mean, element by element."""
        current = self._start()
        lines = [current]
        while True:
            users = [user for user in current.node.users if user in self.relevant]
            if len(users) != 1:
                return lines
            following = self._after(current, users[0])
            if following is None:
                return lines
            lines.append(following)
            current = following

    def _start(self) -> Line:
        node = self.noise
        if name_of(node) != "normal":
            return Line(node, None, None, absorbed=False)
        mean, std = node.args[0], node.args[1] if len(node.args) > 1 else 1.0
        return Line(node, std, mean, absorbed=any(self._reads_rows(value) for value in (mean, std)))

    def _after(self, line: Line, user: fx.Node) -> Line | None:
        name = name_of(user)
        if name in RESHAPES:
            return self._reshaped(line, user)
        rule = _RULES.get(name)
        if rule is None or sum(argument is line.node for argument in user.args) != 1:
            return None
        others = [argument for argument in user.args if argument is not line.node]
        if any(isinstance(other, fx.Node) and self.noise in ancestors([other]) for other in others):
            return None
        with self.graph.inserting_before(user):
            made = rule(self, line, user)
        if made is None:
            return None
        std, mean = made
        absorbed = line.absorbed or any(self._reads_rows(other) for other in others)
        return Line(user, std, mean, absorbed)

    def _reshaped(self, line: Line, user: fx.Node) -> Line | None:
        if user.args[0] is not line.node:
            return None
        parts = []
        with self.graph.inserting_before(user):
            for value in (line.std, line.mean):
                if isinstance(value, fx.Node):
                    value = self.shaped(value, line.node)
                    value = self.call(user.target, value, *user.args[1:], **user.kwargs)
                parts.append(value)
        return Line(user, parts[0], parts[1], line.absorbed)

    def _reads_rows(self, value: Any) -> bool:
        return isinstance(value, fx.Node) and self.x in ancestors([value])

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A new node, with the shape that its result has."""
        node = self.graph.call_function(operation, args, kwargs)
        with torch.no_grad():
            values = fx.node.map_arg((args, kwargs), lambda n: n.meta["val"])
            node.meta["val"] = operation(*values[0], **values[1])
        return node

    def shaped(self, value: Factor, like: fx.Node) -> fx.Node:
        """A factor, broadcast to the shape of a node."""
        if isinstance(value, fx.Node) and _shape(value) == _shape(like):
            return value
        zeros = self.call(aten.zeros_like.default, like)
        return self.call(aten.add.Tensor, zeros, value)

    # Arithmetic on factors: None is the neutral element, so the nodes of the user's own code are kept as they are.

    def times(self, factor: Factor, other: Factor, *, neutral: Factor = 1.0) -> Factor:
        """Factor * other, where a missing factor is 1 (of a std) or stays missing (of a mean)."""
        if factor is None:
            return other if neutral == 1.0 else None
        if not isinstance(factor, fx.Node) and not isinstance(other, fx.Node):
            return factor * other
        if not isinstance(factor, fx.Node):
            factor, other = other, factor
        return self.call(aten.mul.Tensor, factor, other)

    def plus(self, mean: Factor, other: Factor) -> Factor:
        """Mean + other, where a missing mean is 0."""
        if mean is None:
            return other
        if not isinstance(mean, fx.Node) and not isinstance(other, fx.Node):
            return mean + other
        if not isinstance(mean, fx.Node):
            mean, other = other, mean
        return self.call(aten.add.Tensor, mean, other)


def _add(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    alpha = user.kwargs.get("alpha", 1)
    other = user.args[1] if user.args[0] is line.node else user.args[0]
    if alpha == 1:
        return line.std, follow.plus(line.mean, other)
    if user.args[0] is line.node:
        return line.std, follow.plus(line.mean, follow.times(other, alpha))
    return follow.times(line.std, alpha), follow.plus(follow.times(line.mean, alpha, neutral=0.0), other)


def _sub(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    if user.kwargs.get("alpha", 1) != 1:
        return None
    if user.args[0] is line.node:
        return line.std, follow.plus(line.mean, follow.times(user.args[1], -1.0))
    negative = follow.times(line.mean, -1.0, neutral=0.0)
    return follow.times(line.std, -1.0) if line.std is not None else -1.0, follow.plus(negative, user.args[0])


def _mul(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    other = user.args[1] if user.args[0] is line.node else user.args[0]
    return follow.times(line.std, other), follow.times(line.mean, other, neutral=0.0)


def _div(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    if user.args[0] is not line.node or user.kwargs:
        return None
    divisor = user.args[1]
    inverse = follow.call(aten.reciprocal.default, divisor) if isinstance(divisor, fx.Node) else 1.0 / divisor  # type: ignore[operator]
    return follow.times(line.std, inverse), follow.times(line.mean, inverse, neutral=0.0)


def _addcmul(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    if user.args[0] is line.node:
        return None
    base, first, second = user.args
    other = second if first is line.node else first
    value = user.kwargs.get("value", 1)
    std, mean = follow.times(line.std, other), follow.times(line.mean, other, neutral=0.0)
    if value != 1:
        std, mean = follow.times(std, value), follow.times(mean, value, neutral=0.0)
    return std, follow.plus(mean, base)


def _neg(follow: Follower, line: Line, user: fx.Node) -> tuple[Factor, Factor] | None:
    negative = -1.0 if line.std is None else follow.times(line.std, -1.0)
    return negative, follow.times(line.mean, -1.0, neutral=0.0)


_RULES: dict[str, Callable[[Follower, Line, fx.Node], tuple[Factor, Factor] | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "addcmul": _addcmul,
    "neg": _neg,
}


def _shape(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()
