"""The most that a reader takes; ``docs/data.md`` has the same table, and a test compares the two."""

from __future__ import annotations

from typing import NamedTuple

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.storage.array_files import MAX_BYTES


class Limit(NamedTuple):
    """A bound, and what to do with more."""

    most: int
    remedy: str


LIMITS: dict[str, Limit] = {
    "rows": Limit(1 << 25, "split the file"),
    "columns": Limit(1 << 17, "name those to use in a smaller file"),
    "bytes in a line": Limit(1 << 24, "it is no table of rows"),
    "bytes of numbers in memory": Limit(MAX_BYTES, "split the file, or save it as a .npy, which is mapped"),
    "bytes of a mapped .npy": Limit(1 << 36, "split the file"),
    "pixels of a picture": Limit(1 << 26, "make it smaller or cut it"),
    "entries of a folder": Limit(1 << 22, "split the folder"),
}
"""What is counted, and the most that is read. A file above a limit is refused before its memory is taken."""


def check_limit(what: str, count: int, where: object) -> None:
    """Refuse what is above a limit.

    Args:
        what: a key of ``LIMITS``.
        count: how many there are.
        where: the file, for the message.

    Raises:
        DataError: there are more.
    """
    limit = LIMITS[what]
    if count > limit.most:
        raise DataError(f"{where} has {count:,} {what}, more than the {limit.most:,} that are read: {limit.remedy}")
