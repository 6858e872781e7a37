"""Text from outside, made fit to be shown: names out of files go through here on their way to a screen."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Controls, with ESC and CSI among them, what turns the direction of writing, what nobody sees, the line and
# paragraph separators, and halves of surrogate pairs. A newline and a tab are text, unless one line is asked for.
_HIDDEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
_NOT_SHOWN = re.compile(f"[{_HIDDEN}\U000e0000-\U000e007f]")
_NOT_ON_ONE_LINE = re.compile(f"[\t\n{_HIDDEN}\U000e0000-\U000e007f]")


def printable(text: str, *, one_line: bool = False) -> str:
    r"""``text`` with every character that a terminal would obey, or hide, written as its escape.

    Args:
        text: may come from anywhere.
        one_line: also escape newlines and tabs, so that a name cannot pretend to be a line of its own.

    >>> printable("pump\x1b[2J")
    'pump\\x1b[2J'
    >>> printable("pump\nbundle id 00", one_line=True)
    'pump\\nbundle id 00'
    """
    return (_NOT_ON_ONE_LINE if one_line else _NOT_SHOWN).sub(_escape, text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and what it counts.

    Args:
        count: of the things.
        noun: one of them; the number is written before it.
        plural: several of them; empty: the noun with an s.

    >>> counted(1, "row"), counted(1200, "row"), counted(0, "row is", "rows are")
    ('1 row', '1,200 rows', '0 rows are')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def json_value(text: str | bytes, *, finite: bool = False) -> Any:
    """The value of a JSON text out of a file.

    Args:
        finite: take no number that float64 cannot hold (``1e999``), nor ``NaN`` and ``Infinity``, which JSON has not.

    Raises:
        ValueError: it is none, an object in it has a key twice, or it is nested deeper than Python can follow, for
            which ``json`` has a ``RecursionError``.

    >>> json_value('{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    try:
        numbers: dict[str, Any] = {"parse_float": _finite, "parse_constant": _finite} if finite else {}
        return json.loads(text, object_pairs_hook=_object, **numbers)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is no finite number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``json`` keeps the last of two values and says nothing."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {twice!r:.60} twice")
    return made


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")
