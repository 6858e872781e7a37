"""The files of a run on disk: replaced together, and written by one training at a time."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from vae_edge_runtime.errors import StorageError
from vae_edge_runtime.storage.files import read_regular, write_atomic

CONFIG, WEIGHTS, METRICS, CHECKPOINT = "config.json", "weights.safetensors", "metrics.jsonl", "checkpoint.safetensors"
NAMES = (CONFIG, WEIGHTS, METRICS, CHECKPOINT)

_NEW = ".new-"
_WHOLE = ".new-run-is-whole"
_MOST_BYTES = (1 << 31) - 1  # a bundle can hold no more
"""Exists from the moment in which all files of a new run are on disk until each has its name."""


def path_of(folder: Path, name: str, *, new: bool) -> Path:
    """Where a file of a run is written: under its name, or beside it while it belongs to a new run."""
    return folder / (_NEW + name if new else name)


def read(folder: Path, name: str) -> bytes:
    """The bytes of a file of the run that counts, also where a process died while it replaced an older run.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    if (folder / _WHOLE).exists():
        with contextlib.suppress(FileNotFoundError):  # it has its name already
            return read_regular(folder / (_NEW + name), most=_MOST_BYTES)
    return read_regular(folder / name, most=_MOST_BYTES)


def holds_run(folder: Path) -> bool:
    """Whether any file of a run lies there."""
    return any((folder / name).exists() for name in (*NAMES, _WHOLE))


def make(folder: Path) -> None:
    """Make the folder if it is absent.

    Raises:
        StorageError: it is a file, or may not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the run folder {folder} cannot be made ({error.strerror}): name another") from error


def commit_new_run(folder: Path) -> None:
    """Let the files of the new run, all of them written, take the place of an older run.

    A process that dies before this call leaves the old run, one that dies in it leaves the new one.

    Raises:
        StorageError: the folder cannot be written to.
    """
    write_atomic(folder / _WHOLE, [])
    settle(folder)


def settle(folder: Path) -> None:
    """Finish what a process that died has begun: a whole new run gets its names, a part of one is removed.

    Raises:
        StorageError: the folder cannot be written to.
    """
    try:
        if (folder / _WHOLE).exists():
            for name in NAMES:
                with contextlib.suppress(FileNotFoundError):
                    (folder / (_NEW + name)).replace(folder / name)
            (folder / _WHOLE).unlink()
        for name in NAMES:
            (folder / (_NEW + name)).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the run in {folder} could not be replaced ({error.strerror}): check its rights") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the folder; the lock ends with the process, however it ends.

    Windows and file systems without such locks give none.

    Raises:
        StorageError: another training writes there now.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            raise StorageError(
                f"another training writes into {folder} now: wait for its end, or name another folder"
            ) from None
    try:
        yield
    finally:
        os.close(descriptor)
