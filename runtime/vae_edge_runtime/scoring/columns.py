"""Names of features that are a column minus a number."""

from __future__ import annotations

import re

_LESS = re.compile(r"(.+) \(minus ([^()]+)\)")


def lessened(name: str, value: float) -> str:
    """The name of a feature that is a column minus a number; ``split_lessened`` undoes it."""
    return f"{name} (minus {value!r})"


def split_lessened(name: str) -> tuple[str, float] | None:
    """``t (minus 1700000000.0)`` to (t, 1700000000.0); None where the name has no such form."""
    match = _LESS.fullmatch(name)
    try:
        return (match[1], float(match[2])) if match else None
    except ValueError:
        return None
