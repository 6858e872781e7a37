"""A command writes no file that it reads, whatever its names are; ``--force`` does not change that."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_inputs

WRITTEN = {
    "output": False,
    "plot": False,
    "picture": False,
    "regions": False,
    "state": False,
    "compress": False,
    "maps": True,
}
"""Options that name what a command writes, by the name of their parameter; whether it is a folder of files."""
_READ_AS_TEXT = ("source",)
"""Parameters that are a path or something else, such as ``camera:0``, ``-`` or ``pkg.module:factory``."""


def check(options: Mapping[str, Any]) -> None:
    """Compare the paths of a command line.

    Args:
        options: values by parameter.

    Raises:
        OptionError: the command would write over, or into, what it reads, or two results into one file; or the system
            does not look at a path.
    """
    for path in (path for name, value in options.items() for path in _paths(name, value)):
        _look_at(path)
    written = {name: value for name, value in options.items() if name in WRITTEN and isinstance(value, Path)}
    read = [path for name, value in options.items() if name not in WRITTEN for path in _paths(name, value)]
    for name, path in written.items():
        refuse_inputs(path, read, folder=WRITTEN[name])
    for (one, path), (two, other) in combinations(written.items(), 2):
        if path.absolute() == other.absolute():
            raise OptionError(f"--{one} and --{two} are both {path}: name two files")


def _look_at(path: Path) -> None:
    """Refuse a name that is too long, and a file in a folder of somebody else: every later question would fail."""
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # readers and writers say more of these
            raise OptionError(f"{path} cannot be looked at ({error.strerror}): name another file") from error
    except ValueError:  # NUL, of which readers and writers say more
        pass


def _paths(name: str, value: Any) -> list[Path]:
    if isinstance(value, (list, tuple)):
        return [path for each in value for path in _paths(name, each)]
    if isinstance(value, str) and name in _READ_AS_TEXT and "\0" not in value:
        return [Path(value)]
    return [value] if isinstance(value, Path) else []
