"""Which files of a folder are pictures, and what the others are."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.text import counted

from .limits import check_limit

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"))
_OF_THE_SYSTEM = frozenset(
    ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "@tmp", "#recycle", "@recycle", "@recently-snapshot",
     "$recycle.bin", "system volume information", "lost+found")
)  # fmt: skip
"""Names that operating systems and network storages give, in lower case; @eaDir holds small copies of each picture."""

_MOST_NAMED = 8


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        pictures: by name, sorted.
        hidden: how many files were passed over because their name, or that of a folder, begins with a point, or
            because an operating system made them.
        others: how many files have an ending that is no picture's, by ending.
        loops: folders that were reached a second time, by a link.
    """

    pictures: tuple[Path, ...]
    hidden: int
    others: dict[str, int]
    loops: tuple[str, ...]

    def left_out(self) -> tuple[tuple[str, str], ...]:
        """For a report: what is not read, and why."""
        rows = []
        if self.hidden:
            rows.append((counted(self.hidden, "file"), "they are hidden, or an operating system made them"))
        if self.others:
            count = sum(self.others.values())
            total = count + len(self.pictures)
            endings = ", ".join(f"{ending or 'no ending'} {n}" for ending, n in sorted(self.others.items()))
            rows.append((f"{count} of {counted(total, 'file')}", f"they are no pictures: {endings}"))
        rows += [(folder, "a link leads upwards, or to a folder that was read already") for folder in self.loops]
        return tuple(rows)


def of_folders(names: Sequence[str]) -> str:
    """In words, how many pictures each folder at the top holds; empty where there is one.

    Args:
        names: paths of the pictures below the folder that is read.
    """
    tops = Counter(name.split("/")[0] if "/" in name else "." for name in names)
    if len(tops) < 2:
        return ""
    listed = ", ".join(f"{top} {n:,}" for top, n in sorted(tops.items())[:_MOST_NAMED])
    return f"from {len(tops)} folders: {listed}{', …' if len(tops) > _MOST_NAMED else ''}"


def list_pictures(folder: Path) -> Listing:
    """All pictures below a folder; links to folders are followed, each folder once.

    Raises:
        DataError: a folder cannot be read, or an entry called as a picture is no regular file.
    """
    walk = _Walk(folder)
    walk.visit(folder, hidden=False, relative="")
    # By the text of the path, so that the order is the same on every file system.
    walk.pictures.sort(key=lambda p: p.relative_to(folder).parts)
    return Listing(tuple(walk.pictures), walk.hidden, dict(walk.others), tuple(walk.loops))


class _Walk:
    def __init__(self, root: Path) -> None:
        self.pictures: list[Path] = []
        self.hidden, self.count = 0, 0
        self.others: Counter[str] = Counter()
        self.loops: list[str] = []
        # A link that leads upwards would bring in what lies beside the folder.
        self._visited = {_identity(parent) for parent in root.resolve().parents}

    def visit(self, folder: Path, *, hidden: bool, relative: str) -> None:
        """Look at every entry, folders last."""
        try:
            if (identity := _identity(folder)) in self._visited:
                self.loops.append(relative)
                return
            self._visited.add(identity)
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            if relative:  # removed since its name was read
                return
            raise DataError(f"the folder {folder} does not exist") from None
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
        folders: list[tuple[str, bool]] = []
        for entry in listed:
            self.count += 1
            check_limit("entries of a folder", self.count, folder)
            is_hidden = hidden or entry.name.startswith(".") or entry.name.lower() in _OF_THE_SYSTEM
            if _is_folder(entry):
                folders.append((entry.name, is_hidden))
            elif is_hidden:
                self.hidden += 1
            else:
                self._file(folder / entry.name)
        for name, is_hidden in folders:
            self.visit(folder / name, hidden=is_hidden, relative=f"{relative}{name}/")

    def _file(self, path: Path) -> None:
        ending = path.suffix.lower()
        if ending not in SUFFIXES:
            self.others[ending] += 1
            return
        try:
            if not path.exists() and not path.is_symlink():
                return  # removed since its name was read
            regular = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        if not regular:
            raise DataError(f"{path} is no regular file: take it out of the folder")
        self.pictures.append(path)


def is_pattern(path: Path) -> bool:
    """Whether a path that does not exist is a pattern of names, such as ``today/*.png``."""
    return any(mark in str(path) for mark in "*?[") and not path.exists()


def matching(pattern: Path) -> list[Path]:
    """The pictures that a pattern names, sorted; ``**`` stands for any folders.

    Raises:
        DataError: it names no picture.
    """
    files = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207 (any pattern)
    files = [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        raise DataError(f"{pattern} names no picture ({', '.join(sorted(SUFFIXES))})")
    return files


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
