"""A folder of results: all of its files, or none."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import OptionError, StorageError
from .files import sync, umask


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Args:
        folder: to make.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} could not be made: {error.strerror or error}") from error


class StagedFolder:
    """A folder that has its name not yet."""

    def __init__(self, made: Path, target: Path) -> None:
        """``made``: where it lies; ``target``: the name that it will have, which errors show."""
        self._made, self._target = made, target

    def write(self, name: str, content: bytes) -> None:
        """A file of the folder, on the disk when this returns.

        Args:
            name: relative, parts joined by ``/``; a folder of it is made.
            content: its bytes.

        Raises:
            StorageError: the disk is full.
        """
        with _errors_of(self._target / name):
            path = self._made / name
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
                sync(file)


@contextlib.contextmanager
def staged_folder(path: str | os.PathLike[str], *, merge: bool = False) -> Iterator[StagedFolder]:
    """A folder to fill, which becomes ``path`` when the block ends without an error.

    Until then it has a hidden name beside ``path``, or in it where the files are to be merged. On any failure or
    Ctrl-C it is removed, and ``path`` is as it was.

    Args:
        path: the folder to make; its parent exists.
        merge: ``path`` may exist, and gets the files one after the other; a file of the same name is replaced.
            False: it is absent or empty.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
        OptionError: the folder is not empty, and ``merge`` is False.
    """
    target = Path(path)
    merge = merge and target.is_dir()
    with _errors_of(target):
        made = Path(tempfile.mkdtemp(".part", f".{target.name[:40]}.", target if merge else target.absolute().parent))
    try:
        with _errors_of(target):
            made.chmod(0o777 & ~umask())
        yield StagedFolder(made, target)
        with _errors_of(target):
            if merge:
                for file in made.iterdir():
                    file.replace(target / file.name)
            else:
                made.replace(target)  # an empty folder is replaced too
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _errors_of(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise not_empty(target) from None
        raise StorageError(
            f"{target} could not be written ({error.strerror or error}): free space or check the folder's rights"
        ) from error


def not_empty(target: Path) -> OptionError:
    """The error of a folder that holds something already."""
    return OptionError(f"{target} is not empty; name a folder that does not exist yet, or empty it")
