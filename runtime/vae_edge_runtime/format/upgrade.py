"""The door for manifests of another version: an older one is brought up to date, a newer one is refused.

It stands between the JSON parser and the strict typed reader. An older manifest goes through one function per
version, so that the reader knows the current version alone. A newer one is refused before the reader could call its
keys and names wrong; the message says what to install.

What every version of the format keeps, so that this door can read it: the keys ``schema_version``,
``requires.runtime_schema`` and ``made_with.vae_edge``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .._version import __version__
from ..errors import BundleInvalid, BundleTooNew
from .specs import version_numbers

Plain = dict[str, Any]


def _without_compression(plain: Plain) -> Plain:
    """Version 2 says how rows are compressed; no bundle of version 1 has tables for it."""
    return plain | {"compression": None}


UPGRADES: dict[int, Callable[[Plain], Plain]] = {1: _without_compression}
"""By version n: a parsed manifest of version n to one of n + 1. It may change the dict that it is given.

``schema_version`` is not its business. A key that is missing may raise ``KeyError``: the manifest is then refused.
"""


def brought_up_to_date(plain: Any, current: int) -> Any:
    """A parsed manifest of any version as one of version ``current``.

    What is no manifest at all comes back as it is: the strict reader says what is wrong with it.

    Raises:
        BundleTooNew: it is newer than ``current``, or asks for a newer reader.
        BundleInvalid: a version that never existed, or a manifest that does not keep to its own.
    """
    if not isinstance(plain, dict) or type(version := plain.get("schema_version")) is not int:
        return plain
    made_with, requires = plain.get("made_with"), plain.get("requires")
    writer = made_with.get("vae_edge") if isinstance(made_with, dict) else None
    if version > current:
        raise BundleTooNew(f"schema version {version}, this runtime reads up to {current}: {remedy(writer)}")
    wanted = requires.get("runtime_schema") if isinstance(requires, dict) else None
    if type(wanted) is int and wanted > current:
        raise BundleTooNew(f"needs runtime schema {wanted}, this runtime has {current}: {remedy(writer)}")
    if version != current and version not in UPGRADES:
        raise BundleInvalid(f"schema version {version} never existed")
    for step in range(version, current):
        try:
            plain = UPGRADES[step](plain)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error!s:.80}"
            raise BundleInvalid(f"does not keep to its schema version, {step} ({problem})") from None
        plain["schema_version"] = step + 1
    return plain


def remedy(writer: Any) -> str:
    """What to do about a bundle that is too new.

    Args:
        writer: ``made_with.vae_edge`` of its manifest, unchecked: named where it is newer than this runtime.
    """
    update = f"update vae-edge {__version__} on this device"
    if (
        isinstance(writer, str)
        and _VERSION.fullmatch(writer)
        and version_numbers(writer) > version_numbers(__version__)
    ):
        return f"{update} to {writer}, which wrote this bundle, or newer"
    return update


_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}([a-z.+-][a-z0-9.+-]{0,30})?", re.ASCII)
