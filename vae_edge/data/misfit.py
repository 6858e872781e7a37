"""Files that are not of a model's kind: what it takes, in words, and the refusals that several readers share."""

from __future__ import annotations

from collections.abc import Sequence

from vae_edge_runtime.errors import DataError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.text import counted

from .cells import number
from .report import some

_MOST_COLUMNS = 40


def refuse_table(path: object, spec: InputSpec) -> None:
    """Refuse a table for a model of pictures.

    Raises:
        DataError: the message says what the model takes.
    """
    if spec.layout in ("nchw", "nhwc"):
        raise DataError(
            f"{path} is a table; the model takes {taken(spec)}: name a folder of pictures, or an .npy of that shape"
        )


def refuse_pictures(path: object, spec: InputSpec) -> None:
    """Refuse pictures for a model of tables, or of pictures that are not kept in 8 bits.

    Raises:
        DataError: the message says what the model takes.
    """
    if spec.layout in ("features", "time_features"):
        raise DataError(f"{path} holds pictures; the model takes {taken(spec)}: name a table, or an .npy of that shape")
    if spec.layout not in ("nchw", "nhwc") or spec.dtype != "uint8":
        raise DataError(f"{path} holds 8-bit pictures; the model takes {taken(spec)}")


def taken(spec: InputSpec) -> str:
    """What a model takes: pictures, rows of columns or windows, and the shape and type of an array of them."""
    shape = f"({', '.join(map(str, ('n', *spec.shape)))}) {spec.dtype}"
    if spec.layout in ("nchw", "nhwc"):
        channels, height, width = spec.shape if spec.layout == "nchw" else (spec.shape[2], *spec.shape[:2])
        colours = {1: "grey", 3: "colour"}.get(channels, counted(channels, "channel"))
        return f"pictures of {width}x{height} pixels (width x height), {colours}, {shape}"
    if spec.layout == "any":
        return f"rows of the shape {shape}"
    names = f": {some(spec.names)}" if spec.names else ""
    window = f"windows of {counted(spec.shape[0], 'row')}, each" if spec.layout == "time_features" else "rows"
    return f"{window} of {counted(spec.shape[-1], 'column')}{names}, {shape}"


def lacking(wanted: Sequence[str], have: Sequence[str], count: int) -> str:
    """Which columns of a model a table lacks, with both numbers.

    Args:
        wanted: names that are looked for.
        have: of the table.
        count: of columns that the model takes.
    """
    absent = [name for name in wanted if name not in have]
    listed = f"{'column' if len(absent) == 1 else 'columns'} {some([repr(name) for name in absent], _MOST_COLUMNS)}"
    return (
        f"lacks the {listed}: the model takes {counted(count, 'column')}; the rows have {len(have):,}: "
        f"{some(have, _MOST_COLUMNS)}"
    )


def other_count(path: object, have: int, count: int, names: Sequence[str]) -> str:
    """A table without names has another number of columns than the model."""
    listed = f" ({some(names, _MOST_COLUMNS)})" if names else ""
    return f"{path} has no header: the model takes {counted(count, 'column')}{listed}; the rows have {have:,}"


def first_line(names: Sequence[str]) -> str:
    """What to say where names are numbers, as of a row that was taken as the header; empty for words and 0, 1, 2."""
    numbers = [name for name in names if number(name.strip()) is not None]
    if not numbers or list(names[-len(numbers) :]) == [str(i) for i in range(len(numbers))]:
        return ""
    return ". Its first line was taken as names: if it is a row, say --no-header"
