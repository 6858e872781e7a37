"""Batches of tables of other libraries: numbers out of their columns, and columns of scores into them.

None of the libraries is imported here: whoever passes one of their objects has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OptionError


class Added(NamedTuple):
    """A column to add to n rows.

    Attributes:
        values: (n,) float32, float64, bool, or text.
        known: (n,) bool: which rows have a value; the others are null where the library knows null.
    """

    values: Any
    known: NDArray[np.bool_]


class Frame(Protocol):
    """How one kind of table is read and extended."""

    def names(self, batch: Any) -> list[str]:
        """Names of the columns."""
        ...

    def rows(self, batch: Any) -> int:
        """How many rows there are."""
        ...

    def part(self, batch: Any, names: Sequence[str], start: int, stop: int) -> Any:
        """Some columns of some rows."""
        ...

    def numbers(self, part: Any, name: str) -> NDArray[Any]:
        """A column as (n,) numbers, or (n, ...) where a cell holds an array; a missing cell is NaN."""
        ...

    def extended(self, batch: Any, added: Mapping[str, Added]) -> Any:
        """A batch of the same kind with further columns; the one that came in is unchanged."""
        ...


def _library(batch: Any) -> ModuleType:
    return sys.modules[type(batch).__module__.split(".")[0]]


def _refused(name: str, kind: object) -> InputError:
    return InputError(
        f"column {name!r} is {kind}, which is no number: leave it out of columns=, or turn it into numbers first"
    )


class _Arrays:
    """A mapping of names to arrays of equal length."""

    def names(self, batch: Any) -> list[str]:
        return list(batch)

    def rows(self, batch: Any) -> int:
        lengths = {name: np.shape(column)[0] if np.ndim(column) else -1 for name, column in batch.items()}
        if len(set(lengths.values())) > 1 or -1 in lengths.values():
            raise InputError(f"the columns are not arrays of equal length: {lengths}")
        return next(iter(lengths.values()), 0)

    def part(self, batch: Any, names: Sequence[str], start: int, stop: int) -> Any:
        return {name: batch[name][start:stop] for name in names}

    def numbers(self, part: Any, name: str) -> NDArray[Any]:
        return array_numbers(part[name], name)

    def extended(self, batch: Any, added: Mapping[str, Added]) -> Any:
        return {**batch, **{name: np.asarray(column.values) for name, column in added.items()}}


class _Pandas:
    """A pandas DataFrame."""

    def names(self, batch: Any) -> list[str]:
        return list(batch.columns)

    def rows(self, batch: Any) -> int:
        return len(batch)

    def part(self, batch: Any, names: Sequence[str], start: int, stop: int) -> Any:
        return batch[list(names)].iloc[start:stop]

    def numbers(self, part: Any, name: str) -> NDArray[Any]:
        column = part[name]
        if hasattr(column, "cat"):
            column = column.astype(column.cat.categories.dtype)
        if isinstance(column.dtype, np.dtype):
            return array_numbers(column.to_numpy(), name)
        if column.dtype.kind not in "biuf":  # of pandas' own types: text, times, nested
            raise _refused(name, column.dtype)
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))

    def extended(self, batch: Any, added: Mapping[str, Added]) -> Any:
        return batch.assign(**{name: column.values for name, column in added.items()})


class _Polars:
    """A polars DataFrame."""

    def names(self, batch: Any) -> list[str]:
        return list(batch.columns)

    def rows(self, batch: Any) -> int:
        return int(batch.height)

    def part(self, batch: Any, names: Sequence[str], start: int, stop: int) -> Any:
        return batch.select(list(names)).slice(start, stop - start)

    def numbers(self, part: Any, name: str) -> NDArray[Any]:
        polars, column = _library(part), part[name]
        if column.dtype.is_nested():
            return _arrow_numbers(column.to_arrow(), name)
        if not (column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null)):
            raise _refused(name, column.dtype)
        return np.asarray(column.cast(polars.Float64).to_numpy())

    def extended(self, batch: Any, added: Mapping[str, Added]) -> Any:
        polars = _library(batch)
        kinds = {"f4": polars.Float32, "f8": polars.Float64, "b1": polars.Boolean}
        return batch.with_columns(
            polars.Series(
                name, _with_none(column), dtype=kinds.get(np.asarray(column.values).dtype.str[1:], polars.String)
            )
            for name, column in added.items()
        )


class _Arrow:
    """A pyarrow RecordBatch or Table."""

    def names(self, batch: Any) -> list[str]:
        return list(batch.schema.names)

    def rows(self, batch: Any) -> int:
        return int(batch.num_rows)

    def part(self, batch: Any, names: Sequence[str], start: int, stop: int) -> Any:
        return batch.select(list(names)).slice(start, stop - start)

    def numbers(self, part: Any, name: str) -> NDArray[Any]:
        return _arrow_numbers(part.column(name), name)

    def extended(self, batch: Any, added: Mapping[str, Added]) -> Any:
        arrow, schema = _library(batch), batch.schema
        arrays = [
            arrow.array(np.asarray(column.values), mask=~column.known)
            if np.asarray(column.values).dtype.kind != "U"
            else arrow.array(list(column.values), arrow.string())
            for column in added.values()
        ]
        for name, array in zip(added, arrays, strict=True):
            schema = schema.append(arrow.field(name, array.type))
        return type(batch).from_arrays([*batch.columns, *arrays], schema=schema)


_FRAMES: Mapping[tuple[str, str], Frame] = {
    ("pyarrow", "RecordBatch"): _Arrow(),
    ("pyarrow", "Table"): _Arrow(),
    ("pandas", "DataFrame"): _Pandas(),
    ("polars", "DataFrame"): _Polars(),
}
"""By library and name of the class, or of a class it derives from."""
_ARRAYS: Frame = _Arrays()


def frame_of(batch: Any) -> Frame:
    """How to read this batch.

    Raises:
        InputError: it is of none of the kinds.
    """
    for kind in type(batch).__mro__:
        if frame := _FRAMES.get((kind.__module__.split(".")[0], kind.__name__)):
            return frame
    if isinstance(batch, Mapping):
        return _ARRAYS
    raise InputError(
        f"a batch is a {type(batch).__module__}.{type(batch).__qualname__}; pass a pyarrow RecordBatch or Table, a "
        "pandas or polars DataFrame, or a dict of arrays"
    )


def check_names(names: Sequence[str], needed: Sequence[str], added: Sequence[str]) -> None:
    """Refuse a batch whose columns cannot be told apart.

    Raises:
        InputError: a needed column is absent or there twice.
        OptionError: a column to add is there already.
    """
    if absent := [name for name in needed if name not in names]:
        raise InputError(f"the batch has no column {', '.join(map(repr, absent))}; it has {_listed(names)}")
    if twice := [name for name in needed if names.count(name) > 1]:
        raise InputError(f"the batch names a column twice: {', '.join(map(repr, twice))}; rename one")
    if taken := [name for name in added if name in names]:
        raise OptionError(
            f"the batch has a column {', '.join(map(repr, taken))} already, and it is not replaced: rename it, or pass "
            "prefix='vae_' for the names of the new columns"
        )


def array_numbers(column: Any, name: str) -> NDArray[Any]:
    """An array as numbers of the machine's byte order; masked values and None are NaN.

    Raises:
        InputError: it holds something else.
    """
    if isinstance(column, np.ma.MaskedArray):
        if column.dtype.kind not in "biuf":
            raise _refused(name, column.dtype)
        return np.where(np.ma.getmaskarray(column), np.nan, column.data)
    values = np.asarray(column)
    if values.dtype.kind == "O":
        values = _objects(values, name)
    if values.dtype.kind not in "biuf":
        raise _refused(name, values.dtype)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _objects(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Cells that are Python objects: numbers and None, or arrays of one shape."""
    cells = values.tolist()
    if bad := next((cell for cell in cells if isinstance(cell, (str, bytes))), None):
        raise _refused(name, type(bad).__name__)
    try:
        if shape := next((np.shape(cell) for cell in cells if np.ndim(cell)), ()):
            return np.asarray([np.full(shape, np.nan) if cell is None else cell for cell in cells])
        return np.asarray(cells, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"column {name!r} holds objects that are neither numbers nor arrays of one shape") from error


def _arrow_numbers(column: Any, name: str) -> NDArray[Any]:
    arrow = _library(column)
    types, shape = arrow.types, None
    if isinstance(column, arrow.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, arrow.ChunkedArray):  # of no chunk at all, in older releases
            column = arrow.array([], column.type)
    if isinstance(column.type, arrow.BaseExtensionType):
        shape = getattr(column.type, "shape", None)
        column = column.storage
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        rows = _lists(column, name)
        return rows.reshape(len(rows), *shape) if shape is not None else rows
    if types.is_boolean(kind):
        column = column.cast(arrow.int8())
    elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)):
        raise _refused(name, kind)
    if column.null_count or types.is_decimal(kind) or types.is_null(kind):
        # safe=False: an integer above 2^53 is rounded, as every float64 reader does.
        column = column.cast(arrow.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _lists(column: Any, name: str) -> NDArray[Any]:
    """Cells that hold lists of one length, (n, length, ...); a cell that is null is NaN throughout."""
    valid, full = np.asarray(column.is_valid()), column.drop_null()
    if not valid.any():
        return np.full(len(column), np.nan)
    values = _arrow_numbers(full.flatten(), name)
    fixed = getattr(column.type, "list_size", None)
    lengths = np.unique(full.value_lengths().to_numpy()) if fixed is None else np.array([fixed])
    if len(lengths) > 1:
        raise InputError(
            f"column {name!r} holds lists of {lengths[0]} to {lengths[-1]} values; all rows have one shape"
        )
    rows = values.reshape(int(valid.sum()), int(lengths[0]), *values.shape[1:])
    if valid.all():
        return rows
    whole = np.full((len(column), *rows.shape[1:]), np.nan)
    whole[valid] = rows
    return whole


def _with_none(column: Added) -> list[Any]:
    values = np.asarray(column.values).tolist()
    return [value if known else None for value, known in zip(values, column.known.tolist(), strict=True)]


def _listed(names: Sequence[str], most: int = 40) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more if names else "none"
