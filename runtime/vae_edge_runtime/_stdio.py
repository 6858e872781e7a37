"""The one place that writes to stdout and stderr for the command lines."""

from __future__ import annotations

import os
from typing import TextIO

from .errors import StorageError


def write(stream: TextIO, text: str) -> None:
    """Write and flush; a reader that went away, as ``| head`` does, is no error.

    Raises:
        StorageError: the stream is a file that could not take it.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # What is left in the buffer, and the flush at exit, go nowhere instead of failing again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise StorageError(f"{stream.name} could not be written ({error.strerror}): free space") from error
