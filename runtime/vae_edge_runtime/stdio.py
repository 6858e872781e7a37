"""What the two command lines share: writing to stdout and stderr, and numbers scripts rely on."""

from __future__ import annotations

import os
from typing import TextIO

from .errors import StorageError

DOCUMENT_VERSION = 1
"""Of the JSON documents on stdout: their key ``schema_version``."""
INTERNAL_ERROR, INTERRUPTED = 70, 130
"""Exit codes that belong to no error class."""


def write(stream: TextIO, text: str) -> bool:
    """Write and flush; a reader that went away, as ``| head`` does, is no error but False.

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
        return False
    return True
