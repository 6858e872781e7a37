"""Times of rows as they were written: seconds, or ISO 8601."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError

_CLOCK = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[T ]\d\d:\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<hours>[+-]\d\d)(?::?(?P<minutes>\d\d))?)?",
    re.ASCII,
)
"""With seconds and what may follow them; any other form is left to Python."""


class Times:
    """Reads the times of one source; what it says does not depend on how the source was cut into blocks."""

    def __init__(self, where: str) -> None:
        """``where``: the source, for messages."""
        self._where = where
        self.begun = False
        """Whether the first was read, which must be a time."""

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Seconds, (n,) float64, and a label for each that was not written as a number; no labels where all were.

        A text that is no time is NaN: a gap, and no reason to stop.

        Raises:
            DataError: the first of the source is none, so that the column holds no times at all.
        """
        labels: tuple[str, ...] = ()
        try:
            seconds = np.array([plain_number(text) for text in texts])
        except ValueError:
            read = [_read(text) for text in texts]
            seconds, labels = np.array([moment for moment, _ in read]), tuple(label for _, label in read)
        return self.of_seconds(seconds, texts[0]), labels

    def of_seconds(self, seconds: NDArray[np.float64], first: str = "nan") -> NDArray[np.float64]:
        """Times that are seconds already, (n,), as ``__call__`` has them; ``first`` is the first as text.

        Raises:
            DataError: as ``__call__``.
        """
        if not self.begun and not np.isfinite(seconds[0]):
            raise DataError(
                f"{self._where} holds {first!r:.40} for a time: write seconds, or ISO 8601 (2026-01-31T12:00:00)"
            )
        self.begun = True
        return np.where(np.isfinite(seconds), seconds, np.nan)


def plain_number(cell: str) -> float:
    """The number that a cell holds.

    Raises:
        ValueError: it holds none.
    """
    # float() also takes 1_000 and digits of other scripts, which no other reader of the file would.
    if "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return float(cell)


def _read(text: str) -> tuple[float, str]:
    """Seconds, and the text itself unless it is a number."""
    try:
        return plain_number(text), ""
    except ValueError:
        return _iso_seconds(text), text.strip()


def _iso_seconds(text: str) -> float:
    # fromisoformat of Python 3.10 knows fractions of 3 and 6 digits alone, no Z, and no zone of hours alone.
    text, beside = text.strip(), 0.0
    if found := _CLOCK.fullmatch(text):
        second, beside = found["second"], float(f"0.{found['fraction'] or 0}")
        if second == "60":  # a leap second, which has the seconds of the one after it
            second, beside = "59", 1.0
        zone = f"{found['hours']}:{found['minutes'] or '00'}" if found["hours"] else "+00:00"
        text = f"{found['minute']}:{second}{zone}"
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp() + beside
