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

from ..errors import OptionError

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
    raise OptionError(f"{name} is {shown(value)}; pass a finite number{bound}{note}")


def whole_number(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """An int of ``low`` to ``high``; True and 3.0 are no whole numbers. Without bounds it fits 64 bits."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        whole = int(value)
        least, most = (-(1 << 63), (1 << 63) - 1) if low is None else (low, high)
        if whole >= least and (most is None or whole <= most):
            return whole
    bound = "" if high is None else f" and at most {high}"
    wanted = "" if low is None else f" of at least {low}{bound}"
    raise OptionError(f"{name} is {shown(value)}; pass a whole number{wanted}")


def row_count(name: str, value: Any, *, low: int, bytes_per_row: int) -> int:
    """A number of rows to make, which together stay below what a process can address."""
    count = whole_number(name, value, low=low)
    if count * max(bytes_per_row, 1) > sys.maxsize:
        raise OptionError(f"{name} is {shown(value)}; that many rows of {bytes_per_row} bytes fit in no memory")
    return count


def flag(name: str, value: Any) -> bool:
    """True or False; text such as "no" would count as True."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise OptionError(f"{name} is {shown(value)}; pass True or False")


def text(name: str, value: Any) -> str:
    """A str."""
    if isinstance(value, str):
        return value
    raise OptionError(f"{name} is {shown(value)}; pass text")


def choice(name: str, value: Any, valid: Sequence[str]) -> str:
    """One of the ``valid`` words."""
    if isinstance(value, str) and value in valid:
        return value
    raise OptionError(f"{name} is {shown(value)}; valid are {', '.join(valid)}")


def words(name: str, value: Any) -> tuple[str, ...]:
    """A sequence of words; a word alone is a sequence of itself."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable):
        parts = listed(value)
        if parts is not None and all(isinstance(part, str) for part in parts):
            return parts
    raise OptionError(f"{name} is {shown(value)}; pass a name or a sequence of names")


def listed(value: Any) -> tuple[Any, ...] | None:
    """What ``value`` holds; None for one that is iterable by its type alone, as an array without axes is."""
    try:
        return tuple(value)
    except TypeError:
        return None


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """A sequence of finite numbers, as a tuple."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise OptionError(f"{name} is {shown(value)}; pass a sequence of numbers")
    return tuple(number(f"{name}[{index}]", each) for index, each in enumerate(value))


def pair(name: str, value: Any) -> tuple[int, int]:
    """A height and a width."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return whole_number(f"{name}[0]", value[0], low=1), whole_number(f"{name}[1]", value[1], low=1)
    raise OptionError(f"{name} is {shown(value)}; pass (height, width)")


def heads(value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Heads to score by: ``all`` is every known one."""
    if type(value) is tuple and not value:  # nearly every call
        return ()
    return known if isinstance(value, str) and value == "all" else words("heads", value)


def instance(name: str, value: Any, kind: type | tuple[type, ...], remedy: str) -> None:
    """Refuse what is no ``kind``; ``remedy`` says what to pass."""
    if not isinstance(value, kind):
        raise OptionError(f"{name} is {shown(value)}; pass {remedy}")


def function(name: str, value: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise OptionError(f"{name} is {shown(value)}; pass a function")


def path_text(name: str, value: Any) -> str:
    """A path as text; ``value`` is a str, bytes or a path object."""
    try:
        return os.fsdecode(value)
    except TypeError:
        raise OptionError(f"{name} is {shown(value)}; pass the path of a file") from None


def path(name: str, value: Any) -> None:
    """Refuse what names no file: the empty text would be the working directory."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise OptionError(f"{name} is {shown(value)}; pass a path, as text or as a path object")


def shown(value: Any) -> str:
    """The value in a message: no multi-line array, and no million of elements."""
    try:
        line = " ".join(repr(value).split())
    except ValueError:  # Python writes out no int of more than 4,300 digits
        line = f"{type(value).__name__} of many digits"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
