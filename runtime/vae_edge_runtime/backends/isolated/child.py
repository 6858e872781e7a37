"""The process in which an engine runs alone: frames come in on stdin, answers go out on what was stdout."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from ...errors import BackendError, MissingDependency, OptionError, ProviderUnavailable, VaeEdgeError
from ..opening import open_backend
from . import wire

ERRORS = {kind.__name__: kind for kind in (BackendError, OptionError, ProviderUnavailable)}
"""Errors that keep their class on the way to the session."""


def main() -> None:
    """Answer frames until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which then ends this process
    source = sys.stdin.buffer
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an engine prints must not end up among the answers
        _Engine(source, answers).serve()


class _Engine:
    def __init__(self, source: BinaryIO, answers: BinaryIO) -> None:
        self._source, self._answers = source, answers
        self._graphs: dict[str, bytes] = {}
        self._backend: Any = None

    def serve(self) -> None:
        while True:
            try:
                head, arrays, blob = wire.unpack(self._read)
            except EOFError:
                return
            try:
                answer, results = self._answer(head, arrays, blob)
            except VaeEdgeError as error:
                answer, results = _told(error), {}
            except MemoryError:
                answer, results = {"error": "BackendError", "text": "the engine ran out of its memory"}, {}
            for piece in wire.pack(answer, results):
                self._answers.write(piece)
            self._answers.flush()

    def _answer(
        self, head: Mapping[str, Any], arrays: Mapping[str, Any], blob: bytes
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if head["do"] == "open":
            _limit_memory(head["memory_bytes"])
            self._backend = open_backend(
                head["device"],
                self._graphs.__getitem__,
                allow_fallback=head["allow_fallback"],
                threads=head["threads"],
                spin=head["spin"],
            )
        elif head["do"] == "graph":
            self._graphs[head["graph"]] = blob
        elif head["do"] == "prepare":
            self._backend.prepare(head["graph"])
        elif head["do"] == "run":
            outputs = self._backend.run(head["graph"], dict(arrays), head["outputs"])
            return {}, dict(zip(head["outputs"], outputs, strict=True))
        return {"description": dataclasses.asdict(self._backend.describe()) if self._backend else None}, {}

    def _read(self, count: int) -> bytearray:
        taken = bytearray(count)
        view = memoryview(taken)
        while view:
            got = self._source.readinto(view)  # type: ignore[attr-defined]
            if not got:
                raise EOFError
            view = view[got:]
        return taken


def _told(error: VaeEdgeError) -> dict[str, Any]:
    if isinstance(error, MissingDependency):
        return {"error": "MissingDependency", "text": str(error), "package": error.package, "extra": error.extra}
    return {"error": type(error).__name__, "text": str(error)}


def _limit_memory(memory_bytes: int | None) -> None:
    """Private memory that this process may have in all; more is an error of the engine, not of the machine."""
    if memory_bytes is None:
        return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    main()
