"""The session's side of an engine in a process of its own."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray

from ...errors import BackendError, DeadlineExceeded, MissingDependency, OptionError
from ..base import Description, GraphBytes
from . import wire
from .child import ERRORS

LOADING_S = 60.0
"""Longest time to start the engine, and to load one graph into it: engines that compile take seconds."""
_DOING = {"open": "starting the", "graph": "loading graph", "prepare": "loading graph", "run": "running graph"}
_PROGRAM = "import sys; sys.path[:] = {path!r}; from vae_edge_runtime.backends.isolated.child import main; main()"


class IsolatedBackend:
    """Runs graphs in a child process, one call at a time.

    A crash of the engine, a call beyond ``deadline_s`` and a graph that wants more than ``memory_bytes`` are errors
    of that call. The process is ended then, and the next call starts a new one.
    """

    def __init__(
        self,
        load: GraphBytes,
        *,
        device: str,
        allow_fallback: bool,
        threads: int | None,
        spin: bool | None,
        deadline_s: float | None,
        memory_bytes: int | None,
    ) -> None:
        """Start the process and the engine in it.

        Args:
            load: name of a graph to its verified bytes.
            device, allow_fallback, threads, spin: as ``open_backend`` takes them.
            deadline_s: longest time of one run of a loaded graph; None: no limit. To start the engine and to load
                a graph takes ``LOADING_S`` at most, whatever the deadline is.
            memory_bytes: private memory of the process, the engine's own (some 100 MB) among it; None: no limit.

        Raises:
            MissingDependency, ProviderUnavailable, OptionError, BackendError: as ``open_backend``.
        """
        if os.name != "posix":
            raise OptionError("isolate=True needs Linux or macOS: there is no such process on this system yet")
        if memory_bytes is not None and not sys.platform.startswith("linux"):
            raise OptionError("memory_bytes needs Linux, whose kernel counts the private memory of a process")
        self._load, self._deadline_s = load, deadline_s
        self._opening = {
            "do": "open",
            "device": device,
            "allow_fallback": allow_fallback,
            "threads": threads,
            "spin": spin,
            "memory_bytes": memory_bytes,
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._loaded: set[str] = set()
        self._closed = False
        with self._lock:
            self._description = self._start()

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run one graph; only the named outputs come back, in that order.

        Raises:
            BackendError: the engine failed or its process ended; the next call starts it again.
            DeadlineExceeded: the call took longer than ``deadline_s``.
        """
        with self._lock:
            self._load_once(graph)
            until = None if self._deadline_s is None else time.monotonic() + self._deadline_s
            _, arrays = self._ask({"do": "run", "graph": graph, "outputs": list(outputs)}, until, feeds)
        rows = len(next(iter(feeds.values())))
        if list(arrays) != list(outputs) or any(array.shape[:1] != (rows,) for array in arrays.values()):
            raise BackendError(
                f"the engine's process answered graph '{graph}' with other outputs than it was asked for"
            )
        return [array if array.flags.writeable else array.copy() for array in arrays.values()]

    def prepare(self, graph: str) -> None:
        """Load a graph now, so that its errors come now."""
        with self._lock:
            self._load_once(graph)

    def describe(self) -> Description:
        """What runs the graphs, as the engine's process said when it last loaded one."""
        return self._description

    def close(self) -> None:
        """End the process; idempotent."""
        with self._lock:
            self._closed = True
            self._end()

    def _start(self) -> Description:
        path = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100
        try:
            self._process = subprocess.Popen(
                # -I: no module of the current folder and no variable of the environment decides what is imported.
                [sys.executable, "-I", "-c", _PROGRAM.format(path=path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except OSError as error:  # no memory or no right for a process, or a Python that the system cannot start
            raise BackendError(
                f"no process for the engine could be started ({error.strerror}): raise the limit of processes or of "
                "memory, or load without isolate=True"
            ) from error
        self._loaded.clear()
        try:
            answer, _ = self._ask(self._opening, time.monotonic() + LOADING_S)
        except BaseException:
            self._end()
            raise
        return self._described(answer)

    def _load_once(self, graph: str) -> None:
        """See that there is a process, and that its engine has the graph."""
        if self._closed:
            raise BackendError("the engine's process is closed: call load() again")
        if self._process is None:
            self._start()
        if graph not in self._loaded:
            until = time.monotonic() + LOADING_S
            self._ask({"do": "graph", "graph": graph}, until, blob=self._load(graph))
            answer, _ = self._ask({"do": "prepare", "graph": graph}, until)
            self._description = self._described(answer)
            self._loaded.add(graph)

    def _ask(
        self,
        head: Mapping[str, Any],
        until: float | None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        blob: bytes = b"",
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        what = f"{_DOING[head['do']]} {head.get('graph', 'engine')!r}"
        source, sink = process.stdout.fileno(), process.stdin.fileno()
        try:
            for piece in wire.pack(head, arrays or {}, blob):
                _write(sink, memoryview(piece), until)
            answer, results, _ = wire.unpack(lambda count: _read(source, count, until))
        except TimeoutError as error:
            self._end()
            raise DeadlineExceeded(
                f"the engine did not finish {what} in time and was stopped: the next call starts it again"
            ) from error
        except (EOFError, BrokenPipeError) as error:
            how = self._end(grace_s=1.0)
            raise BackendError(
                f"the engine's process ended while {what}: {how}. The next call starts it again"
            ) from error
        except BaseException:  # Ctrl-C between two frames leaves an answer that nobody waits for
            self._end()
            raise
        if "error" in answer:
            _raise(answer)
        return answer, results

    def _described(self, answer: Mapping[str, Any]) -> Description:
        try:
            return Description(**{**answer["description"], "isolated": True})
        except (KeyError, TypeError) as error:
            self._end()
            raise BackendError(f"the engine's process described itself in unknown words: {error}") from error

    def _end(self, grace_s: float = 0.0) -> str:
        """End the process, and say how it went. One that dies on its own has ``grace_s`` to say by what."""
        process, self._process = self._process, None
        if process is None:
            return "it had ended before"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _raise(answer: Mapping[str, Any]) -> NoReturn:
    kind, text = answer["error"], str(answer.get("text"))
    if kind == "MissingDependency":
        raise MissingDependency(str(answer.get("package")), extra=answer.get("extra"), why="running a bundle")
    raise ERRORS.get(kind, BackendError)(text)


def _wait(descriptor: int, until: float | None, *, write: bool) -> None:
    poll = select.poll()  # not select(): a service with more than 1,024 descriptors would fail
    poll.register(descriptor, select.POLLOUT if write else select.POLLIN)
    left_ms = None if until is None else max(0.0, until - time.monotonic()) * 1e3
    if not poll.poll(left_ms):
        raise TimeoutError


def _read(descriptor: int, count: int, until: float | None) -> bytearray:
    taken = bytearray(count)
    view = memoryview(taken)
    while view:
        _wait(descriptor, until, write=False)
        got = os.readv(descriptor, [view])
        if not got:
            raise EOFError
        view = view[got:]
    return taken


def _write(descriptor: int, data: memoryview, until: float | None) -> None:
    data = data.cast("B") if data.nbytes else data
    while data:
        if until is not None:
            _wait(descriptor, until, write=True)
            written = os.write(descriptor, data[: select.PIPE_BUF])
        else:
            written = os.write(descriptor, data)
        data = data[written:]
