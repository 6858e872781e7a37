"""``vae-edge score`` of a folder of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge.data import Dataset
from vae_edge.lakes.done import Counts
from vae_edge.lakes.folder import FileResult, check_folders, score_folder
from vae_edge.lakes.listing import list_tables
from vae_edge_runtime import VAE, Scores
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.text import counted, printable

from . import _console, _rows, _tables


def check(paths: Sequence[Path], output: Path | None, refused: Mapping[str, object]) -> tuple[Path, Path]:
    """The folder of tables and the folder for their scores.

    Args:
        paths: as named on the command line, a folder of tables among them.
        output: as named, or None.
        refused: options that are not for folders, by name: any that was given is an error.

    Raises:
        OptionError: more than one path, no folder to write to, or an option that is not for folders.
    """
    if len(paths) > 1:
        raise OptionError("a folder of tables is scored alone: name one folder, or name single files")
    if output is None or output.suffix.lower() in _tables.SUFFIXES:
        raise OptionError(f"{paths[0]} holds tables, and each gets a file of its own: name a folder with --output")
    if given := [name for name, value in refused.items() if value is not None]:
        raise OptionError(f"--{given[0]} is not for a folder of tables: score single files with it")
    return paths[0], output


def run(
    vae: VAE,
    source: Path,
    target: Path,
    *,
    heads: Sequence[str],
    threshold: float | None,
    empty: Callable[[], Scores],
    reading: Mapping[str, Any],
    force: bool,
    json: bool,
) -> None:
    """Score what is not done yet, and say what was done.

    Raises:
        DataError: files could not be read; the others are scored. Further errors as of ``score_folder``.
    """
    tables = list_tables(source)
    check_folders(source, target, tables, force=force)
    for line in tables.left_out():
        _console.note(line)
    options = {name: value for name, value in asdict(_rows.table_options()).items()}
    settings = plain_settings(
        {
            "bundle_id": vae.info.bundle_id,
            "variant": vae.info.variant,
            "heads": list(heads),
            "threshold": threshold,
            **reading,
            "table": options,
        }
    )

    def score(rows: Dataset, part: slice) -> Scores:
        condition = None if rows.condition is None else rows.condition[part]
        x = np.ascontiguousarray(rows.x[part])
        return vae.score(x, condition=condition, heads=heads, threshold=threshold)

    results: list[FileResult] = []
    size_bytes = sum((source / name).stat().st_size for name in tables.names if (source / name).exists())
    with _console.progress("scoring", size_bytes) as step:
        for result in score_folder(
            source,
            target,
            tables,
            read=lambda path: _rows.read_for(vae.manifest.input, path, **reading),
            score=score,
            empty=empty,
            settings=settings,
            step=step,
        ):
            results.append(result)
            step(0, label=result.name)
            if result.state == "failed":
                _console.complain(f"  failed: {result.why}")
            elif result.why:
                _console.note(printable(f"  {result.name} was scored again: {result.why}", one_line=True))
    _report(vae, source, target, results, json=json)


def plain_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a JSON document gives them back, so that records can be compared."""
    import json

    return dict(json.loads(json.dumps(values)))


def _report(vae: VAE, source: Path, target: Path, results: Sequence[FileResult], *, json: bool) -> None:
    by_state = {state: [r for r in results if r.state == state] for state in ("scored", "done", "failed")}
    counts = [result.counts for result in results if result.counts is not None]
    total = Counts(*(sum(getattr(c, name) for c in counts) for name in ("rows", "anomalies", "not_scored")))
    scored, done, failed = (len(by_state[state]) for state in ("scored", "done", "failed"))
    _console.note(
        f"{counted(len(results), 'file')}: {scored} scored, {done} were done before, {failed} failed; "
        f"in {target} are {counted(total.rows, 'row')}, "
        f"{counted(total.anomalies, 'anomaly', 'anomalies')}, {total.not_scored} not scored"
    )
    if json:
        document = {"info": vae.info.to_dict(), "input": source, "output": target, "scored": scored, "done": done}
        files = [result.to_dict() for result in results]
        _console.print_json("score", {**document, "failed": failed, **vars(total), "files": files})
    if failed:
        first = by_state["failed"][0]
        raise DataError(
            f"{failed} of {counted(len(results), 'file')} could not be scored, first {first.name}: {first.why}"
        )
