"""Where a class comes from, without importing anything."""

from __future__ import annotations

from typing import Any


def is_from(model: Any, library: str) -> bool:
    """Whether the model's class, or one it derives from, is defined in ``library``."""
    return any(cls.__module__.partition(".")[0] == library for cls in type(model).__mro__)


def is_a(model: Any, *names: str) -> bool:
    """Whether the model's class, or one it derives from, has one of these names."""
    return any(cls.__name__ in names for cls in type(model).__mro__)
