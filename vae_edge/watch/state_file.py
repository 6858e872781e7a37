"""The state of ``watch`` in a file: whole or the one before, of one process at a time."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError, StorageError
from vae_edge_runtime.storage.files import read_regular, write_atomic
from vae_edge_runtime.text import json_value

_BEGINS = b"vae-edge watch state 1 "
MAX_BYTES = 1 << 28
_LONGEST_NAME = 40  # of which ``write_atomic`` makes the name of its temporary file


class StateFile:
    """Reads and replaces the file of a state."""

    def __init__(self, path: Path) -> None:
        """``path`` need not exist."""
        self.path = path

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where there is no file.

        Raises:
            DataError: it cannot be read, or is no state that this version wrote.
        """
        remedy = "move it away to begin anew, without its alarm and its place in the source"
        try:
            if not self.path.exists():
                return None
            if not self.path.is_file() or self.path.stat().st_size > MAX_BYTES:
                raise DataError(f"{self.path} is no file of at most {MAX_BYTES} bytes, so no state: name another one")
            raw = read_regular(self.path, most=MAX_BYTES)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}): give it back its rights") from error
        head, _, body = raw.partition(b"\n")
        if not head.startswith(_BEGINS):
            raise DataError(f"{self.path} is no state of this version of vae-edge watch: {remedy}")
        if head[len(_BEGINS) :] != hashlib.sha256(body).hexdigest().encode():
            raise DataError(f"{self.path} is damaged: {remedy}")
        try:
            state = json_value(body, finite=True)
        except ValueError as error:
            raise DataError(f"{self.path} is damaged ({error}): {remedy}") from error
        if not isinstance(state, dict):
            raise DataError(f"{self.path} is damaged: {remedy}")
        return state

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file; on the disk when this returns.

        Raises:
            StorageError: it could not be written; the state before is as it was.
        """
        body = json.dumps(state, allow_nan=False).encode()
        write_atomic(self.path, [_BEGINS, hashlib.sha256(body).hexdigest().encode(), b"\n", body])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[StateFile]:
    """The state file at ``path`` for this process alone; where the system has no locks, for all.

    Raises:
        StorageError: another process has it, or its folder cannot be written to.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        raise StorageError(f"{lock} could not be made ({error.strerror}): name a state in a folder that is there "
                           "and can be written to") from error  # fmt: skip
    try:
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise StorageError(f"another vae-edge watch writes {path} now: give each its own --state") from None
            if len(path.name) <= _LONGEST_NAME:  # what a kill -9 left; nobody else writes this state
                for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
                    left.unlink(missing_ok=True)
        yield StateFile(path)
    finally:
        os.close(descriptor)
