"""The one place that imports optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingDependency


def require(package: str, *, extra: str | None, why: str) -> ModuleType:
    """Import ``package`` now, or say which extra brings it.

    Args:
        package: import name, may be dotted.
        extra: the extra of vae-edge that installs it; None where no extra does.
        why: what needs it, as the start of the sentence "<why> needs the package ...".

    Raises:
        MissingDependency: the package (or a part of it) is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A package that is present but lacks a module of its own is broken, not missing.
        if error.name is None or not package.startswith(error.name.split(".")[0]):
            raise
        raise MissingDependency(package, extra=extra, why=why) from None
