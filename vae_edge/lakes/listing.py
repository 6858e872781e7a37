"""Which files of a folder are tables to score."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vae_edge.data.folders import SUFFIXES as PICTURES
from vae_edge.data.limits import check_limit
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import counted

SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Of tables that can be read and written."""
_HIDDEN = (".", "_")
"""Names begin so that Spark, Ray and Arrow pass over: ``_SUCCESS``, ``_temporary``, ``.part-0.crc``."""


@dataclass(frozen=True)
class Tables:
    """What lies below a folder.

    Attributes:
        names: of the tables, relative to the folder, sorted.
        hidden: how many files were passed over because their name, or that of a folder, begins with a point or "_".
        others: how many files have another ending, by ending.
        links: folders that are links, which are not followed.
    """

    names: tuple[str, ...]
    hidden: int
    others: dict[str, int]
    links: tuple[str, ...]

    def left_out(self) -> Iterator[str]:
        """Lines for a person about what is not scored."""
        if self.hidden:
            yield (
                f"  left out {counted(self.hidden, 'file')}: their name, or that of a folder, begins with a point or _"
            )
        if self.others:
            endings = ", ".join(f"{ending or 'no ending'} {count}" for ending, count in sorted(self.others.items()))
            yield (
                f"  left out {counted(sum(self.others.values()), 'file')}, which are none of "
                f"{', '.join(SUFFIXES)}: {endings}"
            )
        if self.links:
            yield f"  left out {len(self.links):,} links to folders, such as {self.links[0]}: name their target instead"


@checked
def is_folder_of_tables(path: str | os.PathLike[str]) -> bool:
    """Whether it is a folder with tables below it, and without pictures."""
    path = Path(path)
    if not path.is_dir():
        return False
    seen = False
    for folder, names in _walk(path):
        for name in names:
            ending = Path(name).suffix.lower()
            if ending in PICTURES and not _is_hidden(folder, name):
                return False
            seen = seen or (ending in SUFFIXES and not _is_hidden(folder, name))
    return seen


def list_tables(root: Path) -> Tables:
    """The tables of a folder and of all folders below it.

    Raises:
        DataError: a folder cannot be read, or holds more entries than the limit.
    """
    tables: list[str] = []
    links: list[str] = []
    hidden, count, others = 0, 0, Counter[str]()
    for folder, names in _walk(root, links):
        count += len(names)
        check_limit("entries of a folder", count, root)
        for name in names:
            ending = Path(name).suffix.lower()
            if _is_hidden(folder, name):
                hidden += 1
            elif ending in SUFFIXES:
                tables.append(f"{folder}{name}")
            else:
                others[ending] += 1
    return Tables(tuple(sorted(tables)), hidden, dict(others), tuple(links))


def _is_hidden(folder: str, name: str) -> bool:
    return any(part.startswith(_HIDDEN) for part in (*folder.split("/"), name))


def _walk(root: Path, links: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(folder below the root with a slash at its end, names of its files)."""

    def refuse(error: OSError) -> None:
        raise DataError(f"the folder {error.filename} cannot be read: {error.strerror or error}") from error

    for folder, below, names in os.walk(root, onerror=refuse):
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        below.sort()
        if links is not None:
            links += [f"{prefix}{name}" for name in below if (Path(folder) / name).is_symlink()]
        yield prefix, sorted(names)
