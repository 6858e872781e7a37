"""What a model keeps in lists and dicts while it runs is put back: an export leaves the user's model as it was.

The copy that an export works on shares what a hook closes over with the model itself. A hook that keeps activations
filled the user's own list with 122 tensors of an export, those of the tracer among them, and the model could not be
copied again.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from torch import nn

P = ParamSpec("P")
R = TypeVar("R")

_CONTAINERS = (dict, list, set, deque)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_MOST = 10_000
"""Values looked at: a data set in a list is not searched to its end."""
_DEEPEST = 4


def leaves_model_alone(function: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """For a function that takes a model first: afterwards the lists, dicts and sets of the model, also those that its
    hooks close over, hold what they held before.
    """

    def call(model: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        if not isinstance(model, nn.Module):
            return function(model, *args, **kwargs)
        kept = [(container, container.copy()) for container in _containers(model)]
        try:
            return function(model, *args, **kwargs)
        finally:
            for container, before in kept:
                _put_back(container, before)

    functools.update_wrapper(call, function)
    return cast("Callable[Concatenate[Any, P], R]", call)


def _put_back(container: Any, before: Any) -> None:
    same = len(container) == len(before) and all(a is b for a, b in zip(container, before, strict=True))
    if same and isinstance(container, dict):
        same = all(container[key] is before[key] for key in before)
    if not same:
        container.clear()
        (container.extend if isinstance(container, (list, deque)) else container.update)(before)


def _containers(model: nn.Module) -> list[Any]:
    seen: dict[int, Any] = {}
    waiting: list[tuple[Any, int]] = []
    for part in model.modules():
        own = vars(part)
        waiting += [(value, 0) for key, value in own.items() if key not in _OF_EVERY_MODULE]
        for hook in (hook for hooks in _HOOKS for hook in own.get(hooks, {}).values()):
            cells = getattr(getattr(hook, "__func__", hook), "__closure__", None) or ()
            waiting += [(cell.cell_contents, 0) for cell in cells if _filled(cell)]
            waiting.append((getattr(hook, "__self__", None), 0))
    looked = 0
    while waiting and looked < _MOST:
        value, depth = waiting.pop()
        looked += 1
        if isinstance(value, nn.Module) or id(value) in seen or depth > _DEEPEST:
            continue
        if isinstance(value, _CONTAINERS):
            seen[id(value)] = value
            inner = list(value.values()) if isinstance(value, dict) else list(value)
            waiting += [(item, depth + 1) for item in inner[:_MOST]]
        elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in ("torch", "numpy", "builtins"):
            waiting += [(item, depth + 1) for item in vars(value).values()]
    return list(seen.values())


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that has no value yet
        return False
