"""What a reader took from a file, what it left out, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vae_edge_runtime.text import counted

_MOST_NAMES = 12


@dataclass(frozen=True)
class ReadReport:
    """What became of a file or folder.

    Attributes:
        path: as the caller named it.
        kind: ``csv``, ``jsonl``, ``parquet``, ``array`` or ``pictures``.
        rows: how many were read.
        columns: names of those taken, in the order of the rows' last axis; empty where there are no columns.
        left_out: (name of a column or file, reason).
        rows_left_out: (what, reason).
        header: where the names of the columns come from; empty where there are no columns.
        notes: rules that were applied, and what else a person should know.
    """

    path: str
    kind: str
    rows: int
    columns: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    rows_left_out: tuple[tuple[str, str], ...] = ()
    header: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "path": self.path,
            "kind": self.kind,
            "rows": self.rows,
            "columns": list(self.columns),
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "rows_left_out": [{"what": what, "reason": reason} for what, reason in self.rows_left_out],
            "header": self.header,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Lines for a person: one about what was taken, one for each thing left out or to know."""
        taken = f"{self.path}: {counted(self.rows, 'row')}"
        if self.columns:
            taken += f", {counted(len(self.columns), 'column')} {some(self.columns)}; {self.header}"
        lines = [taken]
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out:
            by_reason.setdefault(reason, []).append(name)
        lines += [f"  left out {some(names)}: {reason}" for reason, names in by_reason.items()]
        lines += [f"  left out {what}: {reason}" for what, reason in self.rows_left_out]
        return [*lines, *(f"  {note}" for note in self.notes)]


def printable(path: object) -> str:
    """A path as text that every stream takes: bytes of a name that are no UTF-8 are written as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def some(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Names with commas; of many the first few and their number."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"
