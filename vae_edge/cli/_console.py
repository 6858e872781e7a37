"""Data goes to stdout, everything else to stderr through here; rich only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import typer

from vae_edge_runtime import SessionInfo

SCHEMA_VERSION = 1


def note(text: str) -> None:
    """One line for a person, on stderr."""
    typer.echo(text, err=True)


def header(info: SessionInfo) -> None:
    """What really runs, before any result of it."""
    note(f"{info.path}: {info}")


def print_json(command: str, document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, "command": command, **document}, allow_nan=False, default=str)
    typer.echo(text)


def number(value: float) -> float | None:
    """A float for JSON, where NaN and infinity have no name."""
    return float(value) if abs(value) < float("inf") else None


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """A plain aligned table; the first column to the left, the others to the right."""
    cells = [list(map(str, columns)), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        first, *rest = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        typer.echo("  ".join([first, *rest]).rstrip(), err=err)


class Step(Protocol):
    """Advances a progress bar."""

    def __call__(self, steps: int = 1, *, label: str | None = None) -> None:
        """Advance by ``steps`` and show ``label``."""
        ...


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Step]:
    """A progress bar on stderr where that is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():

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
            bar.update(task, advance=steps, description=label)

        yield advance
