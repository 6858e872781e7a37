"""A file that events are appended to: whole lines only, also after a power cut."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vae_edge_runtime import arguments
from vae_edge_runtime.errors import OptionError, StorageError

_BEGINS = b'{"kind": '
_LONGEST_TAIL = 1 << 20


@contextlib.contextmanager
def appended(path: Path) -> Iterator[tuple[Callable[[str], None], int]]:
    """How to append a line, and how many bytes of a half-written last event were cut off the file.

    Raises:
        OptionError: the file ends with half a line of something else, or ``path`` is no path.
        StorageError: it could not be written; it ends with a whole line.
    """
    path = Path(arguments.path_text("the file of events", path))
    try:
        with path.open("a+b", buffering=0) as file:
            cut = _cut_half_event(file, path)
            yield lambda line: _append(file, line.encode()), cut
    except OSError as error:
        raise StorageError(
            f"{path} could not be written ({error.strerror or error}); it ends with a whole line"
        ) from error


def _append(file: io.FileIO, raw: bytes) -> None:
    end = file.seek(0, os.SEEK_END)
    try:
        if file.write(raw) != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):  # what is no regular file cannot be cut
            file.truncate(end)
        raise


def _cut_half_event(file: io.FileIO, path: Path) -> int:
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST_TAIL)
    file.seek(start)
    tail = file.read(size - start).rpartition(b"\n")[2]
    if not tail:
        return 0
    if tail[: len(_BEGINS)] != _BEGINS[: len(tail)]:
        raise OptionError(f"{path} ends with half a line that is no event: name another file for the events")
    file.truncate(size - len(tail))
    return len(tail)
