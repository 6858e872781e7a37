"""Score every table of a folder into a folder: atomic, restartable, each file once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vae_edge.data import Dataset
from vae_edge.data.files import NoRows
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import DataError, InputError, OptionError
from vae_edge_runtime.scoring.results import Scores
from vae_edge_runtime.scoring.score_table import Columns, score_columns
from vae_edge_runtime.storage.files import write_atomic
from vae_edge_runtime.storage.folders import make_folder

from .done import Content, Counts, Done, content_of, read_record, record_path, write_record
from .listing import Tables
from .writing import file_chunks

_MOST_ROWS = 1 << 16
_MOST_BYTES = 1 << 24
"""Of the rows that are scored and written at once."""


@dataclass(frozen=True)
class FileResult:
    """What became of one input.

    Attributes:
        name: of input and output, relative to their folders.
        state: ``scored``; ``done`` by an earlier run, and left as it was; ``failed``: its rows could not be read, and
            an older output is as it was.
        why: it was scored again or failed; empty text where there is nothing to say.
        counts: of the output; None of a file that failed.
    """

    name: str
    state: Literal["scored", "done", "failed"]
    why: str
    counts: Counts | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        counts = None if self.counts is None else vars(self.counts)
        return {"name": self.name, "state": self.state, "why": self.why, **(counts or {})}


def check_folders(source: Path, target: Path, tables: Tables, *, force: bool) -> None:
    """Refuse an output folder before any work is done.

    Raises:
        OptionError: it is a file, it lies in the input folder, or it holds files that no run has written.
    """
    if target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file; a folder of tables is scored into a folder")
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise OptionError(f"{target} lies in {source}: its outputs would be inputs of the next run; name another")
    strange = [n for n in tables.names if (target / n).exists() and not record_path(target / n).exists()]
    if strange and not force:
        raise OptionError(
            f"{target / strange[0]} exists and was not written by vae-edge score ({len(strange)} such files): pass "
            "--force to replace them, or name another folder"
        )


@checked
def score_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    tables: Tables,
    *,
    read: Callable[[Path], Dataset],
    score: Callable[[Dataset, slice], Scores],
    empty: Callable[[], Scores],
    settings: Mapping[str, Any],
    step: Callable[[int], None] = lambda _: None,
) -> Iterator[FileResult]:
    """Score the tables one by one, and give the result of each.

    Args:
        source: the folder of the tables.
        target: the folder of the outputs, which is made where it is absent; it has passed ``check_folders``.
        tables: what lies in ``source``.
        read: a file to rows.
        score: some of the rows to scores.
        empty: scores of no rows, for a file without rows.
        settings: plain values that the scores depend on; a file made with others is scored again.
        step: called with the bytes of input that were dealt with.

    Raises:
        StorageError: an output could not be written; the earlier ones stand. BackendError: the engine failed.
    """
    for name in tables.names:
        path, output = Path(source, name), Path(target, name)
        before, why, counted = read_record(output), "", 0
        try:
            content = content_of(path)
            if before is not None:
                why = before.why_not(settings, content, output)
                if not why:
                    step(content.size_bytes)
                    yield FileResult(name, "done", "", before.counts)
                    continue
            elif output.exists():
                why = "its record is missing or damaged" if record_path(output).exists() else "--force"
            counts = _score_file(path, output, content, read, score, empty, settings, step)
        except (DataError, InputError) as error:
            step(counted)
            yield FileResult(name, "failed", str(error), None)
        else:
            yield FileResult(name, "scored", why, counts)


def _score_file(
    path: Path,
    output: Path,
    content: Content,
    read: Callable[[Path], Dataset],
    score: Callable[[Dataset, slice], Scores],
    empty: Callable[[], Scores],
    settings: Mapping[str, Any],
    step: Callable[[int], None],
) -> Counts:
    try:
        rows: Dataset | None = read(path)
    except NoRows:
        rows = None
    total = {"rows": 0, "anomalies": 0, "not_scored": 0}

    def parts() -> Iterator[Columns]:
        if rows is None:
            yield score_columns([], empty())
            step(content.size_bytes)
            return
        row_bytes = rows.x.dtype.itemsize * max(1, int(np.prod(rows.x.shape[1:])))
        at_once = max(1, min(_MOST_ROWS, _MOST_BYTES // row_bytes))
        for start in range(0, len(rows), at_once):
            part = slice(start, min(len(rows), start + at_once))
            columns = score_columns(rows.row_ids[part], score(rows, part))
            total["rows"] += part.stop - start
            total["anomalies"] += sum(value is True for value in columns["is_anomaly"])
            total["not_scored"] += sum(status != "ok" for status in columns["status"])
            yield columns
            step(content.size_bytes * part.stop // len(rows) - content.size_bytes * start // len(rows))

    digest, size = hashlib.sha256(), 0

    def hashed() -> Iterator[bytes]:
        nonlocal size
        for block in file_chunks(output, parts()):
            digest.update(block)
            size += len(block)
            yield block

    def publish(_: str) -> None:
        if content_of(path) != content:
            raise DataError(f"{path} changed while it was scored: run again when nobody writes to it")
        write_record(output, Done(content, Content(size, digest.hexdigest()), settings, Counts(**total)))

    make_folder(output.parent)
    write_atomic(output, hashed(), check=publish)
    return Counts(**total)
