"""Tables to rows: which columns are taken, by which rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.scoring.resolution import lost_columns, round_to_float32
from vae_edge_runtime.text import counted

from .dataset import Dataset, as_labels
from .misfit import first_line, lacking, other_count
from .options import TableOptions, joined, lessened, split_lessened
from .report import ReadReport, printable, some
from .row_names import RowNumbers
from .table import Loaded, Table

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_NAMELESS = re.compile(r"Unnamed: \d+(\.\d+)*")
_FEWEST_TO_COUNT = 10
"""Rows from which on a column with a name that grows by 1 in each row counts them; fewer may do so by chance."""


def open_table(path: Path, options: TableOptions, features: Sequence[str] = ()) -> Table:
    """A table by the ending of its name; a first line that has the names ``features`` is no row.

    Raises:
        DataError: it is none, or damaged. MissingDependency: pyarrow is needed for Parquet.
    """
    suffix = path.suffix.lower()
    table: Table
    if suffix == ".parquet":
        from .table_parquet import ParquetTable

        table = ParquetTable(path, options)
    elif suffix == ".jsonl":
        from .table_jsonl import JsonTable

        table = JsonTable(path, options)
    else:
        from .table_csv import CsvTable

        table = CsvTable(path, options, features)
    # The name that pandas gives to a column without one, so that options can name it.
    taken = set(table.names)
    for i, name in enumerate(table.names):
        if not name.strip():
            table.names[i] = f"Unnamed: {i}" if f"Unnamed: {i}" not in taken else f"Unnamed: {i}.1"
    return table


def read_table(
    path: Path, options: TableOptions, label_column: str | None, features: Sequence[str] = ()
) -> Dataset:  # fmt: skip
    """Rows (n, features) of a table; a missing cell is NaN.

    Args:
        path: of the table.
        options: what the user said about it.
        label_column: 0 normal, 1 anomaly.
        features: names of a model's features: exactly these columns are taken, in this order, and others are
            named and left out.

    Raises:
        DataError: a column is absent, is no number, or only the user can tell what it is.
        MissingDependency: pyarrow is needed for Parquet.
    """
    table = open_table(path, options, features)
    chosen = _Choice(table, options, label_column, features)
    label = [] if label_column is None else [chosen.place(label_column)]
    loaded = table.load([column.place for column in chosen.columns] + label)
    values = loaded.values[:, : len(chosen.columns)]
    left_out = dict(chosen.left_out)
    if not chosen.by_name:
        chosen.columns, values = _by_rules(table, chosen.columns, loaded, values, left_out, chosen.notes)
    else:
        _refuse_troubles(table, loaded, [column.place for column in chosen.columns])
    values, notes = _subtracted(chosen.columns, values)
    names = tuple(column.feature for column in chosen.columns)
    labels = None
    if label_column is not None:
        if label[0] in loaded.troubles:
            raise DataError(f"{path} {loaded.troubles[label[0]].said(label_column)}: labels are 0 and 1")
        labels = as_labels(loaded.values[:, -1], len(values), f"{path} [{label_column}]")
    if said := _taken_as_names(table):
        notes.append(said.removeprefix(". "))
    if missing := {name: int(n) for name, n in zip(names, np.isnan(values).sum(0).tolist(), strict=True) if n}:
        each = some([f"{name} {n:,}" for name, n in missing.items()])
        notes.append(f"{counted(sum(missing.values()), 'cell is', 'cells are')} missing: {each}")
    report = ReadReport(
        printable(path),
        table.kind,
        len(values),
        names,
        tuple(left_out.items()),
        loaded.rows_left_out,
        table.header,
        (*chosen.notes, *loaded.notes, *notes),
    )
    # A model's own columns were judged when it was exported; few rows of today may lie closer together.
    keep = not features and lost_columns(values, names)
    x = values if keep else round_to_float32(values)
    return Dataset(x, "features", names, RowNumbers(range(len(x))), labels, None, report)


@dataclass(frozen=True)
class _Column:
    """One that becomes a feature: its place in the table, the name of the feature, and what is subtracted."""

    place: int
    feature: str
    minus: float = 0.0


class _Choice:
    """Columns that the user or the model names, or all of a table for the rules to judge."""

    def __init__(self, table: Table, options: TableOptions, label: str | None, features: Sequence[str]) -> None:
        self._table = table
        self._places: dict[str, list[int]] = {}
        for i, name in enumerate(table.names):
            self._places.setdefault(name, []).append(i)
        self.notes: list[str] = []
        self.left_out: dict[str, str] = {}
        for name in options.drop:
            self._must_have(name)
            self.left_out[name] = "as --drop-columns says"
        self.by_name = True
        if options.columns is not None:
            wanted: Iterable[str] = options.columns
            reason = "not named by --columns"
        elif features and table.has_header:
            wanted, reason = features, "no feature of the model"
        elif features:
            wanted, reason = self._in_order(features), ""
        else:
            self.by_name = False
            self.left_out |= {name: why for name, why in table.index_columns.items() if name != label}
            wanted, reason = [n for n in self._places if n not in self.left_out and n != label], ""
            if twice := [name for name in wanted if len(self._places[name]) > 1]:
                remedy = f"Leave it out with --drop-columns {joined(twice)!r}, or rename one"
                if second := getattr(table, "second_header", None):
                    remedy = f"The next line has names too ({some(second[1])}): take them with --skip-lines {second[0]}"
                raise DataError(
                    f"{table.path} names a column twice: {some(twice)}. {remedy}{_taken_as_names(self._table)}"
                )
        self.columns = self._found(list(wanted), options, features)
        if reason:
            taken = {column.place for column in self.columns}
            others = [n for i, n in enumerate(table.names) if i not in taken and n != label and n not in self.left_out]
            self.left_out |= dict.fromkeys(others, reason)
        if not self.columns:
            raise DataError(f"{table.path} leaves no column to use")

    def place(self, name: str) -> int:
        """Where the one column of this name lies."""
        self._must_have(name)
        if len(self._places[name]) > 1:
            raise DataError(f"{self._table.path} names a column twice: {name}")
        return self._places[name][0]

    def _must_have(self, name: str) -> None:
        if name not in self._places:
            have = some(self._table.names, 40)
            more = "" if self._table.has_header else ": its first line is no header; --header says that it is"
            more = more or _taken_as_names(self._table)
            raise DataError(f"{self._table.path} has no column {name!r}; it has {have}{more}")

    def _in_order(self, features: Sequence[str]) -> list[str]:
        """Without a header the columns are the features in their order, if they are as many."""
        names = [name for name in self._table.names if name not in self.left_out]
        if len(names) != len(features):
            problem = other_count(self._table.path, len(names), len(features), features)
            raise DataError(f"{problem}. Write a header, or name the columns in this order with --columns")
        if names != list(features):
            self.notes.append("without a header the columns are taken in the order of the model's features")
        return names

    def _found(self, wanted: list[str], options: TableOptions, features: Sequence[str]) -> list[_Column]:
        absent = [name for name in wanted if name not in self._places and split_lessened(name) is None]
        if absent and features and options.columns is None:
            raise DataError(
                f"{self._table.path} {lacking(wanted, self._table.names, len(features))}{_taken_as_names(self._table)}"
            )
        if len(absent) > 1:
            have = f"{some(self._table.names, 40)}{_taken_as_names(self._table)}"
            raise DataError(f"{self._table.path} lacks the columns {some(absent)}; it has {have}")
        columns = [self._column(name, options) for name in wanted]
        if features and (options.columns is not None or not self._table.has_header):
            if len(columns) != len(features):
                raise DataError(
                    f"--columns names {counted(len(columns), 'column')}; the model takes "
                    f"{len(features)}: {some(features)}"
                )
            columns = [_as_feature(column, name) for column, name in zip(columns, features, strict=True)]
        unused = set(options.subtract) - {self._table.names[column.place] for column in columns}
        if unused:
            raise DataError(f"--subtract names {some(sorted(unused))}, which is no column that is taken")
        if len({column.place for column in columns}) < len(columns):
            raise DataError(f"--columns names a column twice: {some(wanted)}")
        return columns

    def _column(self, name: str, options: TableOptions) -> _Column:
        parts = None if name in self._places else split_lessened(name)
        base, minus = parts if parts is not None and parts[0] in self._places else (name, 0.0)
        place = self.place(base)
        if base in options.subtract:
            if parts is not None and options.subtract[base] != minus:
                raise DataError(f"the model takes {name!r}: leave out --subtract {base}")
            minus = options.subtract[base]
        return _Column(place, lessened(base, minus) if minus else base, minus)


def _as_feature(column: _Column, feature: str) -> _Column:
    """A column that stands for a feature of a model, whatever its own name."""
    parts = split_lessened(feature)
    return replace(column, feature=feature, minus=parts[1] if parts else column.minus)


def _subtracted(columns: Sequence[_Column], values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    minus = np.array([column.minus for column in columns])
    if not minus.any():
        return values, []
    named = some([column.feature for column in columns if column.minus])
    return values - minus, [f"subtracted in float64: {named}"]


def _by_rules(
    table: Table,
    columns: Sequence[_Column],
    loaded: Loaded,
    values: NDArray[Any],
    left_out: dict[str, str],
    notes: list[str],
) -> tuple[list[_Column], NDArray[Any]]:
    """Leave out nameless columns that are empty or count rows; refuse those about which only the user knows.

    Raises:
        DataError: with the option that decides.
    """
    kept, text, counting, empty, nameless, stepping, dates = [], [], [], [], [], [], []
    for at, column in enumerate(columns):
        name, x = table.names[column.place], values[:, at]
        has_name = _NAMELESS.fullmatch(name) is None
        if column.place in loaded.troubles:
            text.append(column.place)
        elif np.isnan(x).all():
            if has_name:
                empty.append(name)
            else:
                left_out[name] = "it has no name and no value"
        elif not has_name and _counts(x):
            left_out[name] = f"it has no name and counts rows ({x[0]:.0f} to {x[-1]:.0f})"
        elif not has_name:
            nameless.append(name)
        elif len(x) >= _FEWEST_TO_COUNT and _counts(x):
            counting.append(name)
        elif len(x) >= _FEWEST_TO_COUNT and _steps_evenly(x):
            stepping.append(name)
        elif len(x) >= _FEWEST_TO_COUNT and _are_dates(x):
            dates.append(name)
        else:
            kept.append(at)
    doubtful = [table.names[place] for place in text] + counting + stepping + dates + empty + nameless
    if text:
        _refuse_troubles(table, loaded, text, doubtful)
    if doubtful:
        said = [
            (counting, "grow by 1 in each row, as row numbers do"),
            (stepping, "change by the same whole number in each row, as row numbers and clocks do"),
            (dates, "hold dates written as numbers, such as 20240131"),
            (empty, "hold no value"),
            (nameless, "have no name"),
        ]
        listed = "; ".join(f"the columns {some(names)} {why}" for names, why in said if names)
        raise DataError(f"{table.path}: {listed}. {_remedy(table, doubtful)}")
    if not kept:
        raise DataError(f"{table.path} leaves no column to use")
    rising = [table.names[columns[at].place] for at in kept if _rises(values[:, at])]
    if rising:
        notes.append(
            f"{some(rising)}: every value is above the one before, as of a clock or counter; later ones are new"
        )
    return [columns[at] for at in kept], values[:, kept]


def _refuse_troubles(table: Table, loaded: Loaded, places: Sequence[int], doubtful: Sequence[str] = ()) -> None:
    place = next((place for place in places if place in loaded.troubles), None)
    if place is not None:
        name = table.names[place]
        before = ""
        if table.kind == "csv" and len(loaded.troubles) == loaded.values.shape[1]:
            before = "No column holds numbers only: if lines stand before the table, leave them out with --skip-lines. "
        trouble = loaded.troubles[place]
        remedy = trouble.remedy or f"{before}{_remedy(table, doubtful or [name])}"
        raise DataError(f"{table.path} {trouble.said(name)}. {remedy}")


def _remedy(table: Table, doubtful: Sequence[str]) -> str:
    return (
        f"Leave out what is no measurement with --drop-columns {joined(doubtful[:40])!r}, or name the numeric "
        f"columns with --columns, of {some(table.names, 40)}{_taken_as_names(table)}"
    )


def _taken_as_names(table: Table) -> str:
    """What to say where the names of a CSV file look like a row; empty where they do not."""
    return first_line(table.names) if table.kind == "csv" and table.has_header else ""


def _counts(x: NDArray[Any]) -> bool:
    """Whether each value is a whole number, and one more than the value before."""
    return bool(len(x) > 1 and x[0] == np.round(x[0]) and (np.diff(x) == 1).all())


def _steps_evenly(x: NDArray[Any]) -> bool:
    """Whether values are whole numbers that change by the same one from each row to the next."""
    steps = np.diff(x)
    whole = x[0] == np.round(x[0]) and steps[0] == np.round(steps[0])
    return bool(whole and steps[0] != 0 and (steps == steps[0]).all())


def _are_dates(x: NDArray[Any]) -> bool:
    """Whether every value is a day of the calendar as YYYYMMDD, and not always the same one."""
    known = x[~np.isnan(x)]
    if not len(known) or (known != np.round(known)).any() or (known == known[0]).all():
        return False
    if known.min() < 19000101 or known.max() > 21001231:
        return False
    month, day = known // 100 % 100, known % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def _rises(x: NDArray[Any]) -> bool:
    return len(x) >= _FEWEST_TO_COUNT and bool((np.diff(x) > 0).all())
