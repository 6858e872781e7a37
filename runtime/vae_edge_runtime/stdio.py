"""What the two command lines share: streams that may be closed, full or slow, and numbers scripts rely on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, TextIO

from .errors import StorageError
from .text import printable

DOCUMENT_VERSION = 1
"""Of the JSON documents on stdout: their key ``schema_version``."""
INTERNAL_ERROR, INTERRUPTED = 70, 130
"""Exit codes that belong to no error class."""
OUT_OF_MEMORY = 3
"""As anything that is missing on this machine."""
_ENDED_BY = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


_KEYWORD = re.compile(r"""\b([a-z][a-z_]*)=(True|\.\.\.|'[^']*'|"[^"]*"|[\w.]*\w)?(?![\w=(])""")
_CALL = re.compile(r"\b[a-z_]+\((?:\w+, )?(--[^()]*)\)")
_TWICE = re.compile(r"(--[a-z][a-z-]*(?: [\w.]+)?) \((?:in Python )?\1\)")
_ONE_AXIS = re.compile(r"\((\d+),\)")
_QUOTES = "'\""
_OTHER_NAMES = {"deadline_s": "deadline", "memory_bytes": "max_memory", "precisions": "precision"}
"""Arguments of the library to parameters of commands, where the two differ."""


_asked: list[int] = []
"""Signals that asked the running command to end."""


class Ended(KeyboardInterrupt):
    """A signal that asks the process to end; what is half-written is cleaned up on its way out.

    It is a ``KeyboardInterrupt`` because everything that runs foreign code, here and in libraries, lets that one pass.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def write(stream: TextIO, text: str) -> bool:
    """Write all of ``text``, or say why not; a reader that went away, as ``| head`` does, is no error but False.

    A terminal gets no character that it would obey. A stream that cannot encode a character gets its escape.

    Raises:
        StorageError: the stream is a file that could not take it.
    """
    try:
        descriptor = _descriptor(stream)
        if stream.isatty():
            text = printable(text)
        if descriptor is None:
            stream.write(text)
            stream.flush()
        else:
            stream.flush()
            _write_all(descriptor, _encoded(stream, text))
    except (OSError, ValueError) as error:  # ValueError: the stream was closed
        _to_nowhere(stream)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise _lost(stream, error) from error
        return False
    return True


@contextlib.contextmanager
def command_streams() -> Iterator[None]:
    """What a command runs in: streams that exist, and signals that end it in order.

    A stream that the caller closed reads as empty and takes what it is given; without this its number would
    go to the next file that is opened, and messages would be written into that.

    Raises:
        Ended: SIGTERM or SIGHUP came, and nobody else had asked for it.
        StorageError: on leaving, stdout is a file that could not keep what it was given.
    """
    _open_closed_streams()
    _asked.clear()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, _end) for n in _ENDED_BY if signal.getsignal(n) is signal.SIG_DFL}
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
        _keep(sys.stdout)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_options(text: str, options: Mapping[str, str]) -> str:
    """A message of the library in the words of a command: ``force=True`` as ``--force``, where the command has that.

    Args:
        text: of an error.
        options: of the command, by the name of their parameter; what is no option of it stays as it is.

    >>> in_options("pass force=True (--force) or score(x, threshold=...)", {"force": "--force"})
    'pass --force or score(x, threshold=...)'
    >>> in_options("pass device='cpu'; x has shape (5,)", {"device": "--device"})
    'pass --device cpu; x has shape (5)'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        flag = options.get(_OTHER_NAMES.get(name, name))
        if flag is None or value == "lambda":
            return match.group()
        return flag if value in (None, "True", "...") else f"{flag} {value.strip(_QUOTES)}"

    said = _KEYWORD.sub(option, text)
    said = _CALL.sub(lambda call: call.group(1).replace(", --", " --"), said)
    said = _TWICE.sub(r"\1", said)
    return _ONE_AXIS.sub(r"(\1)", said)


def out_of_memory(error: MemoryError) -> str:
    """The line for a person."""
    said = f" ({error})" if str(error) else ""
    return f"MemoryError: there is too little memory{said}: give fewer or smaller rows at once"


def interrupted() -> bool:
    """Whether an error comes from Ctrl-C, whatever was made of it: an extension module that is being imported turns
    the ``KeyboardInterrupt`` into ``ImportError: initialization failed``.

    Raises:
        Ended: it comes from SIGTERM or SIGHUP.
    """
    for number in _asked:
        if number != signal.SIGINT:
            raise Ended(number)
    return bool(_asked)


def end_as(number: int) -> None:
    """End this process as the signal would have ended it; who waits for it sees the signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up is on its way
    _asked.append(number)
    raise Ended(number)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _asked.append(number)
    raise KeyboardInterrupt


def _open_closed_streams() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def _descriptor(stream: TextIO) -> int | None:
    """The file behind a stream of the process; None where only the stream itself knows how to write."""
    if os.name != "posix":
        return None
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _encoded(stream: TextIO, text: str) -> bytes:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:  # a name that is not UTF-8, or a stream that is ASCII
        return text.encode(encoding, "backslashreplace")


def _write_all(descriptor: int, data: bytes) -> None:
    """Write until every byte is taken: the system may take fewer (full disk, signal), or none yet (non-blocking pipe).

    Through ``TextIOWrapper`` the rest would be lost without a word where PYTHONUNBUFFERED is set.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            import select  # not at the top: nobody else needs it

            select.select([], [descriptor], [])


def _keep(stream: TextIO) -> None:
    """Ask the system whether what was written is kept: some file systems say only on closing that they are full."""
    try:
        stream.flush()
        descriptor = _descriptor(stream)
        if descriptor is not None:
            os.close(os.dup(descriptor))
    except BrokenPipeError:
        _to_nowhere(stream)
    except (OSError, ValueError) as error:
        _to_nowhere(stream)
        if isinstance(error, OSError):
            raise _lost(stream, error) from error


def _to_nowhere(stream: TextIO) -> None:
    """What is left in the buffer, and the flush at exit, go nowhere instead of failing again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _lost(stream: TextIO, error: OSError) -> StorageError:
    name = getattr(stream, "name", "a stream")
    return StorageError(f"{name} could not be written ({error.strerror}): free space")
