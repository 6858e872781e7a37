"""What a user may say about a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vae_edge_runtime.arguments.by_annotation import check_fields
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.scoring.columns import lessened as lessened
from vae_edge_runtime.scoring.columns import split_lessened as split_lessened

DELIMITERS = {"tab": "\t", "space": " ", "\\t": "\t"}
"""Words for delimiters that are hard to write on a command line."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How a table is read; every option has a default that asks the file.

    Attributes:
        columns: to use, in this order; None: all that the rules of ``docs/data.md`` take.
        drop: columns to leave out.
        header: whether the first line holds names; None: found out, or asked for.
        delimiter: between cells; None: found out.
        decimal: ``.`` or ``,``; None: found out.
        skip_lines: lines before the header that are no part of the table.
        skip_footer: lines at the end that are no part of the table, such as a sum; empty ones are not counted.
        subtract: per column a number that is subtracted in float64, before values are rounded to float32.
        missing: words that stand for no value, beside those of ``docs/data.md``.
        drop_missing: leave out rows (or windows) with a missing cell.
    """

    columns: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    header: bool | None = None
    delimiter: str | None = None
    decimal: str | None = None
    skip_lines: int = 0
    skip_footer: int = 0
    subtract: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    drop_missing: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.decimal not in (None, ".", ","):
            raise OptionError(f"decimal is {self.decimal!r}; valid are '.' and ','")
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", DELIMITERS.get(self.delimiter, self.delimiter))
            if len(self.delimiter) != 1 or self.delimiter in '"\r\n' or self.delimiter.isalnum():
                raise OptionError(f"delimiter is {self.delimiter!r}; pass one character, or the word tab or space")
            if self.delimiter == self.decimal:
                raise OptionError(f"delimiter and decimal are both {self.decimal!r}")
        for name in ("skip_lines", "skip_footer"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it starts at 0")

    @property
    def given(self) -> bool:
        """Whether any option says something, apart from ``columns`` and ``drop_missing``."""
        return self != TableOptions(columns=self.columns, drop_missing=self.drop_missing)


def joined(names: Sequence[str]) -> str:
    """Names as an option takes them: with commas, and quotes where a name holds a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def in_model_order(columns: Sequence[str] | None, names: Sequence[str]) -> tuple[str, ...] | None:
    """Columns said by hand stand for the model's features in order; the model's own names keep their places.

    Raises:
        OptionError: a name of the model stands in the place of another.
    """
    if columns is None or not names:
        return None if columns is None else tuple(columns)
    if sorted(columns) == sorted(names):
        return tuple(names)
    if wrong := [name for place, name in zip(names, columns, strict=False) if name in names and name != place]:
        raise OptionError(
            f"--columns names {wrong[0]!r} in the place of another feature; the model takes, in this order: "
            f"{', '.join(names)}"
        )
    return tuple(columns)
