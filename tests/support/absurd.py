"""Values that no number, name, path or array is meant to be, and what a call makes of them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from vae_edge_runtime import VaeEdgeError

ABSURD: dict[str, Any] = {
    "None": None,
    "text": "x",
    "empty text": "",
    "NUL": "a\0b",
    "nan": float("nan"),
    "inf": float("inf"),
    "float": 2.5,
    "list": [],
    "nested list": [[[]]],
    "dict": {},
    "object": object(),
    "True": True,
    "-1": -1,
    "0": 0,
    "10**30": 10**30,
    "10**400": 10**400,
    "bytes": b"x",
    "set": {1, 2},
    "function": len,
    "object array": np.array([None, "x"], dtype=object),
    "empty array": np.empty(0, np.float32),
    "number array": np.float32(3.0),
    "5e-324": 5e-324,
    "array without axes": np.array(None),
}

Call = tuple[Callable[..., Any], dict[str, Any]]
"""What is called, and arguments that are in order."""
FUNCTIONS_OF_CALLERS = ("clock", "empty", "note", "progress", "read", "score", "step")
"""Arguments that take a function; what one raises that does not fit is its own affair."""


def others_than_ours(call: Callable[..., Any], fresh: Callable[[], dict[str, Any]]) -> list[str]:
    """What is raised, and is none of our errors, where one argument after the other is absurd.

    Args:
        call: what is called.
        fresh: gives arguments that are in order, anew for every call.
    """
    call(**fresh())
    other = []
    for argument in fresh():
        for title, value in ABSURD.items():
            if callable(value) and argument in FUNCTIONS_OF_CALLERS:
                continue
            try:
                call(**(fresh() | {argument: value}))
            except VaeEdgeError:
                continue
            except Exception as error:
                other.append(f"{argument}={title}: {type(error).__name__}: {error}")
    return other


def public_calls(*packages: str, made_by_us: frozenset[str]) -> dict[str, set[str]]:
    """The parameters of every public function, of classes that callers make, and of methods: those that take any.

    Args:
        packages: whose ``__all__`` is looked through; names that they have from another root do not count.
        made_by_us: classes that only our own functions make, so that their constructors do not count.
    """
    found: dict[str, Any] = {}
    for package in packages:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if getattr(value, "__module__", "").split(".")[0] != package.split(".")[0]:
                continue
            if inspect.isfunction(value) or (_is_plain_class(value) and name not in made_by_us):
                found[name] = value
            if _is_plain_class(value):
                methods = {key: getattr(value, key) for key in vars(value) if key[0] != "_"}
                found |= {
                    f"{name}.{key}": m for key, m in methods.items() if inspect.isfunction(m) or inspect.ismethod(m)
                }
    return {name: parameters for name, value in found.items() if (parameters := _parameters(value))}


def _parameters(value: Any) -> set[str]:
    if dataclasses.is_dataclass(value):  # some have a constructor of (*values, **named)
        return {field.name for field in dataclasses.fields(value)}
    taken = inspect.signature(value).parameters.values()
    return {each.name for each in taken if each.kind is not each.VAR_KEYWORD} - {"self"}


def _is_plain_class(value: object) -> bool:
    return inspect.isclass(value) and not issubclass(value, (Exception, int))
