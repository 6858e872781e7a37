"""A copy of a model: its modules and tensors are copied, whatever else it carries may be shared."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError

from .door import in_words

_MOST_VALUES = 100_000
"""Looked at inside containers; a data set in a list is not searched to its end."""


def copied(model: nn.Module) -> nn.Module:
    """A deep copy. Tensors with a history lose it; what cannot be copied (locks, files, iterators) is shared.

    Raises:
        AdaptError: something cannot be copied that is a module or holds one; the message names its place.
    """
    memo: dict[int, Any] = {}
    kept: list[Any] = []  # an id is given again when its object is gone
    values = list(_values(model))
    for _, value in values:
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone()
            kept.append(value)
    try:
        module: nn.Module = _deep(model, dict(memo))
        return module
    except Exception as error:
        first = error
    for _, value in values:
        if _is_foreign(value) and id(value) not in memo and not _copies(value, memo):
            memo[id(value)] = value
    try:
        module = _deep(model, dict(memo))
        return module
    except Exception:
        places = [place for place, value in values if not _copies(value, memo)]
        named = f" at {', '.join(places[-3:])}" if places else ""
        raise AdaptError(
            f"the model cannot be copied{named} ({in_words(first)}): take that attribute away before the export, "
            "del model.name, or set it to None"
        ) from first


def _deep(value: Any, memo: dict[int, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about itself, when it copies an exported program
        return copy.deepcopy(value, memo)


def _copies(value: Any, memo: Mapping[int, Any]) -> bool:
    try:
        _deep(value, dict(memo))
    except Exception:
        return False
    return True


def _is_foreign(value: Any) -> bool:
    """Whether a value is neither a module nor a container that is walked through.

    A tensor that is no weight and cannot be copied is shared, too: hooks keep those of a tracer, which have no memory.
    """
    return not isinstance(value, (nn.Module, dict, list, tuple, set, str, bytes, int, float, bool, type(None)))


def _values(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything a model carries, with the dotted name of its place: attributes, and what containers in them hold."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [
        (f"{name}.{key}".lstrip("."), value)
        for name, part in model.named_modules()
        for key, value in vars(part).items()
        if key not in ("_modules", "_parameters", "_buffers")
    ]
    while waiting and len(seen) < _MOST_VALUES:
        place, value = waiting.pop()
        if id(value) in seen or value is None:
            continue
        seen.add(id(value))
        yield place, value
        if isinstance(value, nn.Module):  # in a plain list or dict, so it is not registered
            waiting += [(f"{place}.{key}", inner) for key, inner in vars(value).items()]
        elif isinstance(value, Mapping):
            waiting += [(f"{place}[{key!r}]", inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            waiting += [(f"{place}[{at}]", inner) for at, inner in enumerate(value)]
        elif type(value).__module__.split(".")[0] not in ("torch", "numpy", "builtins") and hasattr(value, "__dict__"):
            waiting += [(f"{place}.{key}", inner) for key, inner in vars(value).items()]
