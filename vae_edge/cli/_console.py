"""Data goes to stdout, everything else to stderr, both through here; rich only on a terminal."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from vae_edge_runtime import SessionInfo
from vae_edge_runtime.stdio import DOCUMENT_VERSION, in_options, write
from vae_edge_runtime.text import printable

QUIET, NORMAL, VERBOSE = range(3)
loudness = ContextVar("loudness", default=NORMAL)
"""Of what goes to stderr, for the command that runs."""
options: ContextVar[Mapping[str, str]] = ContextVar("options", default={})  # noqa: B039 (read only)
"""What the command that runs has on its command line, by parameter: ``force`` to ``--force``."""
documents: ContextVar[dict[str, Any]] = ContextVar("documents", default={})  # noqa: B039 (read only)
"""What every JSON document of the command that runs holds beside its own: ``data``, what its readers took."""


def say(text: str) -> None:
    """Text for a person, on stdout.

    Raises:
        StorageError: stdout is a file, and its disk is full.
    """
    write(sys.stdout, printable(text) + "\n")


def line(text: str) -> None:
    """One line of a report, as ``say``: a name in it cannot pretend to be a line of its own."""
    say(printable(text, one_line=True))


def data(text: str) -> None:
    """What another program reads, on stdout, as it is; a terminal gets it as ``say`` would write it."""
    write(sys.stdout, text)


def note(text: str) -> None:
    """One line for a person, on stderr; not with ``-q``."""
    if loudness.get() >= NORMAL:
        write(sys.stderr, printable(text) + "\n")


def refusal(text: str) -> str:
    """The text of an error in the words of the command that runs."""
    return in_options(text, options.get())


def next_steps(*commands: Sequence[object], after: str = "") -> None:
    """What to run next, a command a line, on stderr; words are quoted as the shell of this system reads them.

    Args:
        commands: the words of each, without ``vae-edge``. after: text behind the last, as it is.
    """
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    lines = ["vae-edge " + join([str(word) for word in command]) for command in commands]
    note("next: " + "\n      ".join(lines) + after)


def complain(text: str) -> None:
    """One line on stderr that explains a failure, whatever the loudness."""
    write(sys.stderr, printable(text) + "\n")


def detail(text: str) -> None:
    """One line on stderr that only ``-v`` asks for."""
    if loudness.get() >= VERBOSE:
        note(text)


def header(info: SessionInfo) -> None:
    """What really runs, before any result of it."""
    note(printable(f"{info.path}: {info}", one_line=True))


def print_json(command: str, document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout."""
    data(json_text(command, document) + "\n")


def json_text(command: str, document: dict[str, Any]) -> str:
    """The JSON document of a command; NaN and infinity, which JSON lacks, become null."""
    plain = _finite({"schema_version": DOCUMENT_VERSION, "command": command, **document, **documents.get()})
    return json.dumps(plain, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """A plain aligned table; the first column to the left, the others to the right."""
    cells = [[printable(str(value), one_line=True) for value in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        first, *rest = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        (complain if err else say)("  ".join([first, *rest]).rstrip())


class Step(Protocol):
    """Advances a progress bar."""

    def __call__(self, steps: int = 1, *, label: str | None = None) -> None:
        """Advance by ``steps`` and show ``label``."""
        ...


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Step]:
    """A progress bar on stderr where that is a terminal, and nothing elsewhere or with ``-q``."""
    if loudness.get() < NORMAL or not sys.stderr.isatty():

        def silent(steps: int = 1, *, label: str | None = None) -> None:
            pass

        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(steps: int = 1, *, label: str | None = None) -> None:
            bar.update(task, advance=steps, description=None if label is None else printable(label, one_line=True))

        yield advance
