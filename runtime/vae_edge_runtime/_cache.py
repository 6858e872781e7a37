"""The folder of what this device can make again: engines and tuned choices."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import OptionError, StorageError


def cache_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder for what can be made again: the one given, ``VAE_EDGE_CACHE``, or the user's cache."""
    if folder is not None:
        return Path(folder)
    named = os.environ.get("VAE_EDGE_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-edge"


def private_folder(path: Path) -> Path:
    """Make a folder of this user alone.

    Raises:
        StorageError: it cannot be made.
        OptionError: it belongs to another user, or others may write in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise StorageError(f"the folder {path} cannot be made ({error.strerror}): set VAE_EDGE_CACHE") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OptionError(
            f"{path} is not yours alone, and what lies in it is run or believed: chmod go-w, or set VAE_EDGE_CACHE"
        )
    return path
