"""The most that a reader takes; ``docs/data.md`` has the same table, and a test compares the two."""

from __future__ import annotations

from vae_edge_runtime.errors import DataError

LIMITS: dict[str, int] = {
    "rows": 1 << 25,
    "columns": 1 << 17,
    "line bytes": 1 << 24,
    "bytes of numbers in memory": 1 << 32,
    "bytes of a mapped .npy": 1 << 36,
    "pixels of a picture": 1 << 26,
    "files of a folder": 1 << 22,
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
    if count > LIMITS[what]:
        raise DataError(f"{where}: {count:,} {what} are more than the {LIMITS[what]:,} that are read: split the file")
