"""The one place where arrays from outside are checked."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError, InputError
from ..format.specs import CodeRange, ConditionSpec, InputSpec
from ..text import counted


class Status(enum.IntEnum):
    """What became of one row."""

    OK = 0
    NON_FINITE_INPUT = 1
    NON_FINITE_OUTPUT = 2
    UNKNOWN_CODE = 3


def check_rows(x: Any, *, shape: tuple[int, ...], dtype: str, what: str = "x") -> NDArray[Any]:
    """Return ``x`` as a C-contiguous native array (n, *shape) of exactly ``dtype``.

    Nothing is cast except what loses nothing: none today. The caller's array is never written to.

    Raises:
        InputError: not an ndarray, masked, of another dtype or byte order, or another shape.
    """
    if not isinstance(x, np.ndarray):
        raise InputError(f"{what} is {_kind(x)}, not a numpy array: pass np.asarray({what}, dtype=np.{dtype})")
    if type(x) is not np.ndarray and isinstance(x, np.ma.MaskedArray):  # numpy.ma takes 10 ms to import
        raise InputError(f"{what} is a masked array; fill or drop the masked values first")
    if not x.dtype.isnative:
        # onnxruntime takes such arrays and computes garbage from them.
        raise InputError(f"{what} has byte order {x.dtype.byteorder!r}: pass {what}.astype(np.{dtype})")
    if x.shape[1:] != shape or x.ndim != len(shape) + 1:
        from .misfit import misfit  # rows that fit do not pay for it

        raise InputError(misfit(what, x.shape, shape))
    if x.dtype != np.dtype(dtype):
        name = what if what.isidentifier() else "x"  # a file, or several words, is nothing to call
        raise InputError(
            f"{what} is {x.dtype}, the model takes {dtype}: in NumPy, {name}.astype(np.{dtype}) converts it, if that "
            "is meant"
        )
    return np.ascontiguousarray(x).view(np.ndarray)


def as_float32(x: Any, spec: InputSpec) -> Any:
    """float64 rows as float32 where a model takes that; anything else as it is.

    Export refused columns that float32 would lose, so rounding loses nothing within the calibrated range. Rows that
    reach outside it are held to the same rule.

    Raises:
        InputError: float32 would lose a column; the message names the number to subtract.
    """
    if type(x) is not np.ndarray or x.dtype.char != "d" or not x.dtype.isnative or spec.dtype != "float32":
        return x
    from .resolution import columns_of, refuse_lost, round_to_float32  # rows of float32 do not pay for it

    columns = columns_of(x, spec.layout)
    if columns is not None and x.size and not spec.low <= x.min() <= x.max() <= spec.high:
        refuse_lost(columns, names=(), what="x")
    return round_to_float32(x)


def check_condition(condition: Any, spec: ConditionSpec | None, n: int) -> dict[str, NDArray[Any]]:
    """The feed that a conditional model takes beside ``n`` rows; empty for any other model.

    Args:
        condition: (n, *spec.shape) of spec.dtype, or one (*spec.shape) for all rows; an int for a label.

    Raises:
        InputError: missing, not wanted, or it does not fit.
    """
    if spec is None:
        if condition is not None:
            raise InputError("this model takes no condition")
        return {}
    if condition is None:
        kind = "a label (int64)" if not spec.shape else f"{spec.dtype} (n, {', '.join(map(str, spec.shape))})"
        raise InputError(
            f"this model is conditional: pass condition=, {kind}, for every row; an .npz holds it as 'condition'"
        )
    if isinstance(condition, (int, np.integer)) and not isinstance(condition, bool):
        condition = np.asarray(condition, dtype=np.int64)
    if isinstance(condition, np.ndarray) and condition.shape == spec.shape:
        condition = np.repeat(condition[None], n, axis=0)
    condition = check_rows(condition, shape=spec.shape, dtype=spec.dtype, what="condition")
    if len(condition) != n:
        raise InputError(
            f"condition has {counted(len(condition), 'row')} for {counted(n, 'row')} of x: pass one "
            "each, or one for all"
        )
    if not np.isfinite(condition).all():
        raise InputError("condition holds NaN or infinity")
    if spec.dtype == "int64" and n and not spec.low <= condition.min() <= condition.max() <= spec.high:
        raise InputError(f"condition reaches from {condition.min()} to {condition.max()}; the model knows the "
                         f"labels {spec.low:g} to {spec.high:g}")  # fmt: skip
    return {"condition": condition}


def check_latents(z: NDArray[Any], codebook: int) -> None:
    """Latents are finite, and indices are those of the codebook; 0: there are no indices.

    Raises:
        InputError: they are not.
    """
    if not all_finite(z):
        raise InputError("z holds NaN or infinity")
    if codebook and z.size and not 0 <= z.min() <= z.max() < codebook:
        raise InputError(f"z holds indices from {z.min()} to {z.max()}; the codebook has 0 to {codebook - 1}")


def finite_made(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows that a decoder has made, as they are; unlike scores they have no status to say that one is none.

    Raises:
        BackendError: one is not finite.
    """
    if not all_finite(rows):
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))[0])
        raise BackendError(
            f"row {bad} is decoded to what is not finite: the weights of this model are not, or the latents lie far "
            "outside of what it was trained on"
        )
    return rows


def all_finite(x: NDArray[Any]) -> bool:
    """Whether every element is a finite number, at the cost of one pass and no temporary."""
    if x.dtype.kind != "f":
        return True
    if x.size == 1:
        return math.isfinite(x.item())
    # Squares add up to a finite number only if every element is finite; where the sum overflows they are looked at.
    return math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())


def finite_rows(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows hold finite values only, (n,) bool."""
    if all_finite(x):
        return np.ones(len(x), dtype=bool)
    finite: NDArray[np.bool_] = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    return finite


def replace_bad_rows(x: NDArray[Any], codes: Sequence[CodeRange] = ()) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Rows safe to run, and the status of each: bad rows are replaced in a copy, the rest untouched.

    A bad row is zeroed, and takes the code nearest to 0 where the model looks something up.
    """
    status = np.zeros(len(x), np.uint8)
    if codes and len(x):
        status[~_known_codes(x, codes)] = Status.UNKNOWN_CODE
    if not all_finite(x):
        status[~finite_rows(x)] = Status.NON_FINITE_INPUT
    if np.count_nonzero(status):  # any() takes 3 us longer: for one row that is 5 % of the call
        bad = status != Status.OK
        x = x.copy()
        x[bad] = 0
        for column in codes:
            x[bad, ..., _elements(column)] = min(max(0, column.low), column.high)
    return x, status


def _known_codes(x: NDArray[Any], codes: Sequence[CodeRange]) -> NDArray[np.bool_]:
    """Which rows hold codes in range only, (n,) bool; NaN is no code."""
    known = np.ones(len(x), dtype=bool)
    for column in codes:
        values = x[..., _elements(column)]
        if not column.low <= values.min() <= values.max() <= column.high:
            inside = (values >= column.low) & (values <= column.high)
            known &= inside.reshape(len(x), -1).all(axis=1)
    return known


def _elements(column: CodeRange) -> Any:
    return slice(None) if column.column is None else column.column


def checked_rows(x: Any, spec: InputSpec) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Raw rows as the graphs take them, and the status of each.

    Raises:
        InputError: as ``check_rows`` and ``as_float32``.
    """
    return replace_bad_rows(check_rows(as_float32(x, spec), shape=spec.shape, dtype=spec.dtype), spec.codes)


def feeds_beside(
    x: Any, given: Any, spec: InputSpec, beside: ConditionSpec, *, to_score: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Feeds of raw rows, and the status of each.

    Without a mask every NaN of a row is a missing value, and every other value was observed. A row without any observed
    value gets the status of a row that is not finite.

    Args:
        given: the mask (n, *row_shape), 1 where a value was observed and 0 where not; or the targets (n, *shape).
        to_score: the graph takes the targets.

    Raises:
        InputError: rows, mask or targets do not fit.
    """
    if beside.role == "target":
        if to_score and given is None:
            shape = ", ".join(map(str, beside.shape))
            raise InputError(
                f"this model forecasts: pass the target of every row as condition= (--target), float32 (n, {shape})"
            )
        x, status = checked_rows(x, spec)
        return {"x": x} | (check_condition(given, beside, len(x)) if to_score else {}), status
    is_floats = isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.shape[1:] == spec.shape
    if given is not None:
        count = len(x) if isinstance(x, np.ndarray) and x.ndim else 0
        mask = check_condition(given, beside, count)["condition"]
        if not np.isin(mask, (0, 1)).all():
            raise InputError("the mask holds other values than 0 and 1; 1 is an observed value")
    else:
        mask = (~np.isnan(x)).astype(np.float32) if is_floats else np.ones((len(x), *beside.shape), np.float32)
    if is_floats and mask.shape == x.shape:
        x = np.where(mask > 0, x, np.zeros((), x.dtype))
    x, status = checked_rows(x, spec)
    status[~mask.any(axis=tuple(range(1, mask.ndim)))] = Status.NON_FINITE_INPUT
    return {"x": x, "condition": mask}, status


def _kind(value: Any) -> str:
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else f"a {kind.__qualname__}"
