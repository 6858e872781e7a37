"""Folders of what this device can make again: engines and tuned choices.

Plain strings: every session asks for one at its start, and pathlib takes 7 ms to import.
"""

from __future__ import annotations

import os

from ..errors import OptionError, StorageError


def cache_folder(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """The folder ``name`` in the one given, in ``VAE_EDGE_CACHE``, or in the cache of the user.

    Raises:
        StorageError: nothing says where, as for a user without a home.
    """
    root = os.fspath(folder) if folder is not None else os.environ.get("VAE_EDGE_CACHE")
    if not root:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
        if not os.path.isabs(home):  # noqa: PTH117
            raise StorageError("this user has no home folder to cache in: set VAE_EDGE_CACHE")
        root = f"{home}/vae-edge"
    return f"{root}/{name}"


def private_folder(path: str) -> str:
    """Make a folder of this user alone; folders above it that are not there are made for this user alone, too.

    Raises:
        StorageError: it cannot be made.
        OptionError: as ``check_private``.
    """
    absent, place = [], path
    while place and not os.path.isdir(place):  # noqa: PTH112
        absent.append(place)
        place = os.path.dirname(place)  # noqa: PTH120
    try:
        for folder in reversed(absent):  # os.makedirs gives its mode to the last one alone
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        check_private(path)
    except OSError as error:
        raise StorageError(f"the folder {path} cannot be made ({error.strerror}): set VAE_EDGE_CACHE") from error
    return path


def check_private(path: str) -> None:
    """Look whether anybody but this user and root can put something into a folder, or another folder in its place.

    Raises:
        OSError: it is not there.
        OptionError: it belongs to another user, or others may write in it or in a folder above it.
    """
    status = os.stat(path)  # noqa: PTH116
    owner = os.geteuid() if hasattr(os, "geteuid") else status.st_uid
    if status.st_uid != owner:  # root is no exception: the owner could put code there that root would run
        raise OptionError(
            f"{path} is not yours alone, and what lies in it is run or believed: it belongs to user {status.st_uid} "
            f"and this process is user {owner}. Run chown -R {owner} {path} (a volume of a container belongs to who "
            "made it), or set VAE_EDGE_CACHE"
        )
    if status.st_mode & 0o022:
        raise OptionError(
            f"{path} is not yours alone, and what lies in it is run or believed: chmod go-w, or set VAE_EDGE_CACHE"
        )
    above = os.path.realpath(path)
    while (parent := os.path.dirname(above)) != above:  # noqa: PTH120
        above, status = parent, os.stat(parent)  # noqa: PTH116
        anybody = status.st_mode & 0o002 and not status.st_mode & 0o1000  # as /tmp, which keeps names to their owners
        if anybody or (owner != status.st_uid != 0 and hasattr(os, "geteuid")):
            raise OptionError(
                f"{path} is not yours alone, as others may rename folders in {above}: chmod o-w and chown it, or set "
                "VAE_EDGE_CACHE"
            )
