"""The command line. This module imports without typer, to be able to say that it is missing."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from vae_edge_runtime.errors import MissingDependency, StorageError, VaeEdgeError
from vae_edge_runtime.stdio import (
    INTERNAL_ERROR,
    INTERRUPTED,
    OUT_OF_MEMORY,
    Ended,
    command_streams,
    end_as,
    interrupted,
    out_of_memory,
)

from . import _console


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 fine, 1 a gate failed, 2 bad usage or input, 3 something is
    missing on this machine, 4 the engine failed, 70 a bug of ours, 130 Ctrl-C. SIGTERM and
    SIGHUP end it as they end any process, after what is half-written was removed.
    """
    _console.loudness.set(_console.NORMAL)
    _console.options.set({})
    code = 0
    try:
        with command_streams():
            try:
                code = _run(arguments)
            except KeyboardInterrupt:  # while typer is imported
                code = INTERRUPTED
            if code == INTERRUPTED:
                interrupted()  # to typer every signal is Ctrl-C
                _console.complain("interrupted; nothing half-written is left")
    except Ended as ended:
        end_as(ended.number)
    except StorageError as error:  # what stdout did not keep; a failure before says more
        code = code or _say(error)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        import typer
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        return _say(MissingDependency("typer", extra="cli", why="the command line"))
    # click's base class, or that of the copy of click inside newer typers.
    click_exception = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

    try:
        from ._app import app

        code = app(args=None if arguments is None else list(arguments), standalone_mode=False, prog_name="vae-edge")
        return code if isinstance(code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except VaeEdgeError as error:
        return INTERRUPTED if interrupted() else _say(error)
    except MemoryError as error:
        _console.complain(out_of_memory(error))
        return OUT_OF_MEMORY
    except Exception as error:
        if interrupted():
            return INTERRUPTED
        if isinstance(error, click_exception):
            error.show()  # type: ignore[attr-defined]
            return int(error.exit_code)  # type: ignore[attr-defined]
        _console.complain(traceback.format_exc().rstrip())
        _console.complain("this is a bug of vae-edge: please report it with the lines above")
        return INTERNAL_ERROR


def _say(error: VaeEdgeError) -> int:
    if _console.loudness.get() >= _console.VERBOSE:
        _console.complain("".join(traceback.format_exception(error)).rstrip())
    else:
        _console.complain(f"{type(error).__name__}: {_console.refusal(str(error))}")
    return error.exit_code
