"""The forms in which people have rows: arrays, frames, tensors, loaders; known by what they can do, not by import."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_edge_runtime.errors import InputError, OptionError
from vae_edge_runtime.format.specs import Role
from vae_edge_runtime.scoring.resolution import columns_of, constant_columns, refuse_lost, round_to_float32
from vae_edge_runtime.text import counted

from .config import ExportConfig


@dataclass(frozen=True, eq=False)
class RawRows:
    """Rows as an array.

    Attributes:
        x: (n, *row_shape) uint8 or float32.
        names: of the columns of a frame; else empty.
        notes: what was done to them.
    """

    x: NDArray[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...]


def raw_rows(rows: Any, *, layout: str, names: Sequence[str] = (), what: str) -> RawRows:
    """Rows in any of the forms as an array.

    float64 is rounded to float32, unless that would lose a column.

    Args:
        rows: an array, a tensor, a frame (pandas, polars), or an iterable of batches such as a DataLoader. Of a batch
            with several parts the first is taken.
        layout: as in ``ExportConfig``.
        names: of the columns to take of a frame; empty: all.
        what: the rows, for messages.

    Raises:
        InputError: another form, columns that are no numbers, or a column that float32 cannot hold.

    Example:
        >>> raw_rows(torch.zeros(2, 3), layout="features", what="rows").x.shape
        (2, 3)
    """
    own: tuple[str, ...] = ()
    notes: list[str] = []
    if isinstance(rows, torch.Tensor):
        rows = _array(rows, what)
    elif _is_frame(rows):
        rows, own, notes = _of_frame(rows, names, what)
        layout = "features"
    elif not isinstance(rows, (np.ndarray, str, bytes, Mapping, Sequence)) and isinstance(rows, Iterable):
        rows, notes = _of_batches(rows, what)
    if isinstance(rows, np.ndarray) and type(rows) is not np.ma.MaskedArray and rows.ndim > 1:
        columns = columns_of(rows, layout)
        if columns is not None and rows.dtype in (np.float32, np.float64):
            refuse_lost(columns, names=own or names, what=what)
        if rows.dtype == np.float64 and rows.dtype.isnative:
            notes.append(f"{what}: float64 was rounded to float32")
            rows = round_to_float32(rows)
    return RawRows(rows, own, tuple(notes))


def taken_in(rows: Any, config: ExportConfig, what: str) -> tuple[NDArray[Any], ExportConfig, tuple[str, ...]]:
    """Rows as an array, the config with the names of a frame's columns, and what to say about them."""
    raw = raw_rows(rows, layout=config.layout, names=config.names, what=what)
    if raw.names:
        layout = "features" if config.layout == "any" else config.layout
        config = replace(config, names=raw.names, layout=layout)
    return raw.x, config, raw.notes


def others_taken_in(
    evaluation: tuple[Any, ...] | None, example: Any, compress_rows: Any, config: ExportConfig
) -> tuple[tuple[Any, ...] | None, NDArray[Any] | None, NDArray[Any] | None]:
    """Rows beside those of the calibration as arrays, where there are any; ``config`` has the names of the columns.

    Raises:
        InputError: no rows. OptionError: ``evaluation`` has other parts than rows, labels and conditions.
    """
    if evaluation is not None:
        if len(evaluation) not in (2, 3):
            raise OptionError(f"evaluation has {counted(len(evaluation), 'part')}; pass (rows, labels), or the "
                              "conditions third")  # fmt: skip
        evaluation = (taken_in(evaluation[0], config, "evaluation rows")[0], *evaluation[1:])
    example = None if example is None else taken_in(example, config, "example")[0]
    return evaluation, example, None if compress_rows is None else taken_in(compress_rows, config, "compress_rows")[0]


def constant_said(x: NDArray[Any], config: ExportConfig) -> tuple[str, ...]:
    """A warning that names the columns with one value in all calibration rows; none where there are no such columns."""
    columns = columns_of(x, config.layout)
    if columns is None or not (names := constant_columns(columns, config.names)):
        return ()
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return (f"the calibration rows have one value only in {listed}: no other value there was judged",)


def refuse_constant(x: NDArray[Any], layout: str, names: Sequence[str]) -> None:
    """Refuse rows to train on that have one value in a column: it has no scale, and any other value is an anomaly.

    Raises:
        InputError: the message names the columns, and the option that leaves them out.
    """
    columns = columns_of(x, layout)
    if columns is None or len(x) < 2 or not (constant := constant_columns(columns, names)):
        return
    listed = ",".join(constant[:40])
    remedy = f"--drop-columns {listed!r}" if names else "x[..., [the others]]"
    raise InputError(
        f"training data has one value only in {listed}: such a column teaches nothing, and any other value would be an "
        f"anomaly later. Leave it out with {remedy}"
    )


def _is_frame(rows: Any) -> bool:
    return not isinstance(rows, np.ndarray) and all(hasattr(rows, name) for name in ("columns", "dtypes", "to_numpy"))


def _of_frame(frame: Any, names: Sequence[str], what: str) -> tuple[NDArray[Any], tuple[str, ...], list[str]]:
    have = [str(name) for name in frame.columns]
    if twice := [name for i, name in enumerate(have) if name in have[:i]]:
        raise InputError(f"{what}: the frame names the column {twice[0]!r} twice")
    if absent := [name for name in names if name not in have]:
        raise InputError(f"{what}: the frame lacks the columns {', '.join(absent)}; it has {', '.join(have[:40])}")
    keys = dict(zip(have, frame.columns, strict=True))
    taken = tuple(names) or tuple(have)
    x = np.stack([_of_column(frame[keys[name]], name, what) for name in taken], axis=1)
    others = [name for name in have if name not in taken]
    return x, taken, [f"{what}: left out the columns {', '.join(others[:12])}"] if others else []


def _of_column(column: Any, name: str, what: str) -> NDArray[np.float64]:
    values = np.asarray(column)
    if values.dtype.kind == "O":  # nullable integers, decimals, or words
        wrong = [v for v in values.tolist() if not isinstance(v, numbers.Number) and not _is_absent(v)]
        if wrong:
            raise InputError(f"{what}: column {name!r} holds {wrong[0]!r:.40}, which is no number: drop it")
        return np.array([np.nan if _is_absent(v) else float(v) for v in values.tolist()])
    if values.dtype.kind not in "biuf":
        raise InputError(f"{what}: column {name!r} is {values.dtype}, no numbers: drop it")
    return values.astype(np.float64)


def _is_absent(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"


def _of_batches(batches: Iterable[Any], what: str) -> tuple[NDArray[Any], list[str]]:
    arrays, parts = [], 1
    for batch in batches:
        if isinstance(batch, (tuple, list)) and batch:
            parts, batch = max(parts, len(batch)), batch[0]
        if isinstance(batch, Mapping):
            raise InputError(f"{what}: a batch is a dictionary with {', '.join(map(str, batch))}: yield the rows alone")
        arrays.append(_array(batch, what))
    if not arrays:
        raise InputError(f"{what} holds no batch")
    shapes = sorted({(array.shape[1:], str(array.dtype)) for array in arrays}, key=str)
    if len(shapes) > 1:
        raise InputError(f"{what}: batches differ, {shapes[0]} and {shapes[1]}: yield rows of one shape and dtype")
    notes = [f"{what}: of each batch the first of {parts} parts was taken"] if parts > 1 else []
    return np.concatenate(arrays), notes


def _array(batch: Any, what: str) -> NDArray[Any]:
    if isinstance(batch, np.ndarray):
        return batch
    if not isinstance(batch, torch.Tensor):
        raise InputError(f"{what} is or holds a {type(batch).__name__}; pass arrays or tensors (n, *row_shape)")
    try:
        return batch.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{what}: {error}: pass a dense tensor of float32, float64 or uint8") from None


def with_beside(
    x: Any, condition: Any, target: Any, missing: str | None, what: str
) -> tuple[Any, NDArray[Any] | None, Role]:
    """Rows without NaN, what stands beside them, and its role.

    Args:
        x: rows as an array. condition, target: one per row; one of them at most.
        missing: ``mask`` or ``nan``: NaN of a float row is a missing value, and the mask comes of it.
        what: the rows, for messages.

    Raises:
        OptionError: more than one of the three, or a word that is none of the two.
        InputError: targets that are no float32 array with one row each.
    """
    if missing not in (None, "mask", "nan"):
        raise OptionError(f"missing is {missing!r}; valid are mask (the model takes one) and nan (it takes NaN)")
    if sum(value is not None for value in (condition, target, missing)) > 1:
        raise OptionError("condition, target and missing exclude each other: one thing stands beside a row")
    if target is not None:
        targets = _array(target, f"{what}: the targets")
        targets = targets.astype(np.float32) if targets.dtype.kind in "fiu" else targets
        if targets.ndim < 2 or targets.dtype != np.float32 or len(targets) != len(x):
            raise InputError(f"{what}: targets are {targets.dtype} {targets.shape}; pass float32 ({len(x)}, *shape)")
        return x, targets, "target"
    if missing is None:
        return x, condition, "condition"
    absent = np.isnan(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else np.zeros(np.shape(x), bool)
    mask = (~absent).astype(np.float32)
    if not mask.reshape(len(mask), -1).any(axis=1).all():
        raise InputError(f"{what}: a row holds no value at all: drop it")
    if absent.any():  # what is filled in is never seen by the model: the values of the column keep its range
        columns = x.reshape(-1, x.shape[-1])
        empty = np.isnan(columns).all(axis=0)
        middle = np.nanmedian(np.where(empty, 0.0, columns), axis=0).astype(x.dtype)
        x = np.where(absent, np.broadcast_to(middle, x.shape), x)
    return x, mask, "mask"


def evaluation_with_beside(evaluation: tuple[Any, ...] | None, missing: str | None) -> tuple[Any, ...] | None:
    """Evaluation rows and labels with the mask of the rows beside them, where they may miss values."""
    if evaluation is None or missing is None:
        return evaluation
    x, mask, _ = with_beside(evaluation[0], None, None, missing, "evaluation rows")
    return x, evaluation[1], mask
