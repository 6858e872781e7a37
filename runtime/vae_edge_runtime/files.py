"""Every file this project publishes is written here: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from .arguments import path_text
from .errors import OptionError, StorageError


def refuse_existing(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Say early that ``path`` must not be overwritten, or cannot be a file.

    Args:
        path: the file to write later.
        force: whether a file that exists may be replaced.

    Returns:
        The path, as a path object.

    Raises:
        OptionError: it is no path, it exists and ``force`` is False, it is a folder, or its folder does not exist.
    """
    name = path_text("the file to write", path)
    if not name or "\0" in name:
        raise OptionError(f"the file to write is called {name!r}; name a file without NUL characters")
    target = Path(name)
    if target.is_dir():
        raise OptionError(f"{target} is a folder; name a file in it")
    if target.exists() and not force:
        raise OptionError(f"{target} exists; pass force=True (--force) to replace it, or name another file")
    if not target.parent.is_dir():
        raise OptionError(f"the folder {target.parent} does not exist; create it first")
    return target


def write_atomic(
    path: str | os.PathLike[str], chunks: Iterable[bytes], *, check: Callable[[str], object] | None = None
) -> None:
    """Write ``chunks`` to ``path``: a reader sees the old file or the new one, never a part.

    Temporary file in the same folder, fsync, rename, fsync of the folder; on any failure or
    Ctrl-C the temporary file is removed and the target is as it was.

    Args:
        path: the file to make or replace.
        chunks: its bytes.
        check: called with the path of the complete temporary file; what it raises stops the rename.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if check:
            check(temporary)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target} could not be written ({error.strerror or error}): free space or check the folder's rights"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _umask() -> int:
    # mkstemp makes files 0600; a published file gets what open() would have given it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
