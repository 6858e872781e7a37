"""Checks of the scalar options that a caller passes: each returns the value, or raises ``OptionError``.

Arrays are checked in ``scoring.inputs``. What no check here names (text for a temperature, None for a rate) would
otherwise be a bare ``TypeError`` from somewhere inside numpy.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import OptionError

_SHOWN = 60
"""Characters of a refused value in a message."""


def number(name: str, value: Any, *, low: float = -math.inf, note: str = "") -> float:
    """A finite number from ``low``, as float; ``note`` is added to the message."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            as_float = float(value)
        except OverflowError:  # an int of more than 308 digits
            as_float = math.inf
        if math.isfinite(as_float) and as_float >= low:
            return as_float
    bound = "" if low == -math.inf else f" from {low:g}"
    raise OptionError(f"{name} is {_shown(value)}; pass a finite number{bound}{note}")


def whole_number(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """An int of ``low`` to ``high``; True and 3.0 are no whole numbers."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        whole = int(value)
        if whole >= low and (high is None or whole <= high):
            return whole
    bound = "" if high is None else f" and at most {high}"
    raise OptionError(f"{name} is {_shown(value)}; pass a whole number of at least {low}{bound}")


def row_count(name: str, value: Any, *, low: int, bytes_per_row: int) -> int:
    """A number of rows to make, which together stay below what a process can address."""
    count = whole_number(name, value, low=low)
    if count * max(bytes_per_row, 1) > sys.maxsize:
        raise OptionError(f"{name} is {_shown(value)}; that many rows of {bytes_per_row} bytes fit in no memory")
    return count


def flag(name: str, value: Any) -> bool:
    """True or False; text such as "no" would count as True."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise OptionError(f"{name} is {_shown(value)}; pass True or False")


def choice(name: str, value: Any, valid: Sequence[str]) -> str:
    """One of the ``valid`` words."""
    if isinstance(value, str) and value in valid:
        return value
    raise OptionError(f"{name} is {_shown(value)}; valid are {', '.join(valid)}")


def words(name: str, value: Any) -> tuple[str, ...]:
    """A sequence of words; a word alone is a sequence of itself."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable):
        listed = _listed(value)
        if listed is not None and all(isinstance(word, str) for word in listed):
            return listed
    raise OptionError(f"{name} is {_shown(value)}; pass a name or a sequence of names")


def _listed(value: Iterable[Any]) -> tuple[Any, ...] | None:
    """What ``value`` holds; None for one that is iterable by its type alone, as an array without axes is."""
    try:
        return tuple(value)
    except TypeError:
        return None


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """A sequence of finite numbers, as a tuple."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise OptionError(f"{name} is {_shown(value)}; pass a sequence of numbers")
    return tuple(number(f"{name}[{index}]", each) for index, each in enumerate(value))


def heads(value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Heads to score by: ``all`` is every known one."""
    if type(value) is tuple and not value:  # nearly every call
        return ()
    return known if isinstance(value, str) and value == "all" else words("heads", value)


def instance(name: str, value: Any, kind: type, remedy: str) -> None:
    """Refuse what is no ``kind``; ``remedy`` says what to pass."""
    if not isinstance(value, kind):
        raise OptionError(f"{name} is {_shown(value)}; pass {remedy}")


def function(name: str, value: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise OptionError(f"{name} is {_shown(value)}; pass a function")


def path_text(name: str, value: Any) -> str:
    """A path as text; ``value`` is a str, bytes or a path object."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise OptionError(f"{name} is {_shown(value)}; pass the path of a file") from None


def _shown(value: Any) -> str:
    """The value in a message: no multi-line array, and no million of elements."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
