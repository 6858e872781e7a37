"""Arrays of another shape than a model takes: both in words, and the NumPy call that makes one of the other."""

from __future__ import annotations

import math

from ..text import counted

_CHANNELS_FIRST, _CHANNELS_LAST = "x.transpose(0, 3, 1, 2)", "x.transpose(0, 2, 3, 1)"


def misfit(what: str, have: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Why an array does not fit, and what would.

    Args:
        what: its name, or that of its file.
        have: its shape.
        shape: of one row of the model.

    >>> misfit("x", (8, 4), (5,))
    'x has shape (8, 4): the model takes 5 columns; the rows have 4'
    >>> misfit("x", (8, 16, 16), (1, 16, 16))
    'x has shape (8, 16, 16), the model takes (n, 1, 16, 16): in NumPy, x.reshape(-1, 1, 16, 16) fits'
    """
    if len(have) == 2 and len(shape) == 1:
        return f"{what} has shape {have}: the model takes {counted(shape[0], 'column')}; the rows have {have[1]:,}"
    call = _call(have, shape)
    remedy = f": in NumPy, {call}" if call else ""
    return f"{what} has shape {have}, the model takes ({', '.join(map(str, ('n', *shape)))}){remedy}"


def _call(have: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What makes rows of ``shape`` without another order of their values; empty where nothing does."""
    row = have[1:]
    if have == shape:
        return "x[None] is that one row"
    if len(row) == len(shape) == 3 and sorted(row) == sorted(shape):
        if (row[2], *row[:2]) == shape:
            return f"{_CHANNELS_FIRST} fits"
        if (*row[1:], row[0]) == shape:
            return f"{_CHANNELS_LAST} fits"
    reshaped = f"x.reshape({', '.join(map(str, (-1, *shape)))})"
    if _sides(shape) in (_sides(row), _sides(have)):
        return f"{reshaped} fits"
    if math.prod(row) == math.prod(shape) and 1 in (len(row), len(shape)):
        return f"{reshaped} fits, if training flattened rows in this order"
    return ""


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)
