"""Arguments held to their annotations: a function or a record of options takes what it says it takes, and no more.

``checked`` decorates a function, ``check_fields`` is the first line of a record's ``__post_init__``. Both pass values
on in the plain form of the annotation (a tuple for a list, a float for a number of numpy), which can be compared,
hashed and written as JSON. Annotations are resolved at the first call, not at import.

A text is no sequence of texts here: ``columns="ab"`` would otherwise be the columns a and b.
"""

from __future__ import annotations

import functools
import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from .. import arguments
from ..errors import OptionError
from ..record import field_types

P = ParamSpec("P")
R = TypeVar("R")

_KINDS = {np.bool_: "b", Any: "biufUS"}
"""Of arrays by their annotation; all others are of numbers."""
_SEQUENCES, _MAPPINGS = (tuple, Sequence), (dict, Mapping)
_UNORDERED = (str, bytes, Mapping, set, frozenset)
"""What can be gone through, and is no sequence of its parts."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Hold the arguments of every call to the annotations of ``function``.

    Example:
        >>> @checked
        ... def drop(columns: tuple[str, ...]) -> int:
        ...     return len(columns)
        >>> drop(["time", "id"])
        2
        >>> drop("time")
        Traceback (most recent call last):
        vae_edge_runtime.errors.OptionError: columns is 'time'; pass a list: columns=['time']
    """

    @functools.wraps(function)
    def call(*values: P.args, **named: P.kwargs) -> R:
        places, kinds = _parameters(function)
        fitting = [fitted(name, value, kinds.get(name, Any)) for name, value in zip(places, values, strict=False)]
        fitting += values[len(fitting) :]  # the function itself refuses one too many
        by_name = {name: fitted(name, value, kinds.get(name, Any)) for name, value in named.items()}
        return cast("Callable[..., R]", function)(*fitting, **by_name)

    return call


def check_fields(record: Any) -> None:
    """Hold the fields of a dataclass, which may be frozen, to their annotations.

    Raises:
        OptionError: one does not fit; the message names it.
    """
    cls: type = type(record)
    for name, kind in field_types(cls).items():
        value = getattr(record, name)
        plain = fitted(name, value, kind)
        if plain is not value:
            object.__setattr__(record, name, plain)


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names in order, and the annotations of those that have one."""
    import inspect  # not at the top: no device that only scores comes here

    return tuple(inspect.signature(function).parameters), typing.get_type_hints(function)


def fitted(name: str, value: Any, kind: Any) -> Any:
    """``value`` in the plain form of the annotation ``kind``.

    Raises:
        OptionError: it is of another kind; the message says what to pass.
    """
    if kind in _PLAIN:
        return _PLAIN[kind](name, value)
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(name, value, kind, parts)
    if origin is typing.Literal:
        return arguments.choice(name, value, parts)
    if origin in _SEQUENCES:
        return _sequence(name, value, kind, parts)
    if origin in _MAPPINGS and isinstance(value, Mapping):
        return {
            fitted(f"a key of {name}", key, parts[0]): fitted(f"{name}[{key!r:.60}]", item, parts[1])
            for key, item in value.items()
        }
    if origin is np.ndarray:
        return _array(name, value, typing.get_args(parts[1])[0])
    arguments.instance(name, value, origin, in_words(kind))
    return value


def _one_of(name: str, value: Any, kind: Any, parts: tuple[Any, ...]) -> Any:
    others = [part for part in parts if part is not type(None)]
    if value is None and len(others) < len(parts):
        return None
    if len(others) == 1:
        return fitted(name, value, others[0])
    if any(typing.get_origin(part) is os.PathLike for part in others):
        arguments.path(name, value)
        return value
    for part in others:
        try:
            return fitted(name, value, part)
        except OptionError:
            continue
    raise _misfit(name, value, kind)


def _sequence(name: str, value: Any, kind: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    open_ended = len(parts) == 1 or parts[-1] is Ellipsis
    if type(value) is tuple and open_ended and _are_plain(value, parts[0]):
        return value
    items = None if isinstance(value, _UNORDERED) else arguments.listed(value)
    if items is None and open_ended and _fits(value, parts[0]):
        raise OptionError(f"{name} is {arguments.shown(value)}; pass a list: {name}=[{arguments.shown(value)}]")
    if items is None or not (open_ended or len(items) == len(parts)):
        raise _misfit(name, value, kind)
    wanted = (parts[0],) * len(items) if open_ended else parts
    return tuple(fitted(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(items, wanted, strict=True)))


def _are_plain(values: tuple[Any, ...], kind: Any) -> bool:
    """Whether there is nothing to do: the limits of a guard are hundreds of floats, checked whenever a bundle opens."""
    return all(type(value) is kind for value in values) and (kind is not float or all(map(math.isfinite, values)))


def _array(name: str, value: Any, scalar: Any) -> Any:
    """An array as it is; lists and tensors become one. Its numbers may have another precision than ``scalar``."""
    if isinstance(value, (np.ndarray, list, tuple)) or hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):  # rows of several lengths, a tensor on a GPU
            array = np.empty((), object)
        if array.ndim and array.dtype.kind in _KINDS.get(scalar, "biuf"):
            return value if isinstance(value, np.ndarray) else array
    words = "truth values" if scalar is np.bool_ else "numbers"
    raise OptionError(f"{name} is {arguments.shown(value)}; pass an array of {words}")


def _fits(value: Any, kind: Any) -> bool:
    try:
        fitted("", value, kind)
    except OptionError:
        return False
    return True


def _misfit(name: str, value: Any, kind: Any) -> OptionError:
    return OptionError(f"{name} is {arguments.shown(value)}; pass {in_words(kind)}")


def in_words(kind: Any) -> str:
    """What an annotation takes, for a message."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(in_words(part) for part in parts)
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in parts)
    if origin in _SEQUENCES and parts[-1] is not Ellipsis and origin is tuple:
        return f"{len(parts)} values: {', '.join(in_words(part) for part in parts)}"
    if origin in _SEQUENCES:
        return f"a list, each {in_words(parts[0])}"
    if origin in _MAPPINGS:
        return f"a dict from {in_words(parts[0])} to {in_words(parts[1])}"
    name = _WORDS.get(origin, getattr(origin, "__name__", str(origin)))
    return name if origin in _WORDS else f"a{'n' if name[0] in 'AEIOU' else ''} {name}"


_WORDS: dict[Any, str] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    Any: "anything",
    type(None): "None",
    np.ndarray: "an array",
    Callable: "a function",
}
_PLAIN: dict[Any, Callable[[str, Any], Any]] = {
    Any: lambda name, value: value,
    bool: arguments.flag,
    int: arguments.whole_number,
    float: arguments.number,
    str: arguments.text,
}
