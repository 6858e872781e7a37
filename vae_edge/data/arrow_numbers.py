"""Columns of Arrow as numbers, by one rule for tables that are read whole and for streams."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_numeric(arrow: Any, kind: Any) -> bool:
    """Whether a column of this type becomes a feature: integers, floats, decimals, booleans, or a dictionary of them.

    Args:
        arrow: the module pyarrow.
        kind: an Arrow type.
    """
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def as_float64(arrow: Any, column: Any) -> NDArray[np.float64]:
    """A column (n,) of a numeric type; null is NaN. An integer above 2^53 is rounded, as every float64 reader does.

    Args:
        arrow: the module pyarrow.
        column: an array of Arrow, whole or in chunks.
    """
    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if arrow.types.is_boolean(column.type):
        column = column.cast(arrow.int8())
    return np.asarray(column.cast(arrow.float64(), safe=False), dtype=np.float64)
