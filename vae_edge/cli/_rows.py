"""Files named on the command line to rows that fit a model."""

from __future__ import annotations

import csv
import dataclasses
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data import Dataset, ReadReport, TableOptions, read
from vae_edge.data.fitting import size_for
from vae_edge.data.folders import SUFFIXES as PICTURES
from vae_edge.data.folders import is_pattern
from vae_edge.data.limits import check_limit
from vae_edge.data.misfit import refuse_pictures, refuse_table
from vae_edge.data.options import in_model_order, joined
from vae_edge.data.report import some
from vae_edge.data.tables import SUFFIXES as TABLES
from vae_edge_runtime import VAE
from vae_edge_runtime.errors import DataError, InputError, OptionError
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.specs import InputSpec, element_count
from vae_edge_runtime.scoring.inputs import check_rows
from vae_edge_runtime.scoring.resolution import round_to_float32
from vae_edge_runtime.text import counted

from . import _console
from ._options import is_whole

_table: ContextVar[TableOptions] = ContextVar("table", default=TableOptions())  # noqa: B039 (frozen)
_reports: ContextVar[list[ReadReport]] = ContextVar("reports")


def begin(
    *,
    drop_columns: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    skip_lines: int = 0,
    skip_footer: int = 0,
    subtract: list[str] | None = None,
    missing: str | None = None,
    drop_missing: bool = False,
) -> None:
    """Keep what the command that starts says about its tables; it has read nothing yet.

    Raises:
        OptionError: a value is not valid.
    """
    options = TableOptions(
        drop=split_columns(drop_columns) or (),
        header=header,
        delimiter=delimiter,
        decimal=decimal,
        skip_lines=skip_lines,
        skip_footer=skip_footer,
        subtract=dict(_assignment(text) for text in subtract or ()),
        missing=split_columns(missing) or (),
        drop_missing=drop_missing,
    )
    _table.set(options)
    _reports.set([])
    _console.documents.set({})


def table_options() -> TableOptions:
    """What the command that runs says about its tables."""
    return _table.get()


def options_to_read_alike(path: Path, *, image_size: str | None, fit: str | None = None) -> list[str]:
    """The options with which another file like ``path`` is read as this command read it, a word each.

    Columns, what is subtracted from them, and the length of windows are known to whoever has the model.
    """
    table, words = table_options(), list[str]()
    if path.suffix.lower() in TABLES:
        words += [] if table.header is None else ["--header" if table.header else "--no-header"]
        words += (
            [] if table.delimiter is None else ["--delimiter", "tab" if table.delimiter == "\t" else table.delimiter]
        )
        words += [] if table.decimal is None else ["--decimal", table.decimal]
        words += ["--skip-lines", str(table.skip_lines)] if table.skip_lines else []
        words += ["--skip-footer", str(table.skip_footer)] if table.skip_footer else []
        words += ["--missing", joined(table.missing)] if table.missing else []
    words += ["--drop-missing"] if table.drop_missing else []
    words += [] if image_size is None else ["--image-size", image_size]
    words += [] if fit is None else ["--fit", fit]
    return words


def _assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        return name.strip(), float(value if equals else "")
    except ValueError:
        raise OptionError(f"subtract is {text!r}; write COLUMN=NUMBER, such as time_s=1700000000") from None


def split_columns(columns: str | None) -> tuple[str, ...] | None:
    """``a,"b,c"`` to (a, "b,c"), as a CSV file writes such names."""
    if columns is None:
        return None
    try:
        (names,) = csv.reader([columns], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise OptionError(f"{columns!r} is no list of columns: {error}") from None
    return tuple(name.strip() for name in names)


def image_size(text: str | None, what: str = "image size") -> tuple[int, int] | None:
    """``64x48`` to (height 64, width 48); ``what`` it is, for the message.

    Raises:
        OptionError: it does not have that form. DataError: so many pixels are never read.
    """
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not (cross and is_whole(height) and is_whole(width) and int(height) and int(width)):
        raise OptionError(f"{what} is {text!r:.80}; write HEIGHTxWIDTH, such as 64x64")
    check_limit("pixels of a picture", int(height) * int(width), f"{what} {text!r:.80}")
    return int(height), int(width)


MAX_BYTES_MADE = 1 << 32
"""Of the rows that one command draws, decodes or interpolates."""


def check_made(manifest: Manifest, count: int, size: tuple[int, int] | None = None) -> None:
    """Refuse more rows than a command holds at once; a program that calls the session may make any number.

    Args:
        manifest: of the model. count: of rows. size: (height, width) of each, other than the model's.

    Raises:
        OptionError: they would need more than ``MAX_BYTES_MADE``.
    """
    of_row = 4 * element_count(manifest.output.shape)
    if size is not None:
        of_row = 4 * size[0] * size[1] * min(manifest.output.shape)
    of_row = max(of_row, 8 * element_count(manifest.latent.shape))
    if count * of_row > MAX_BYTES_MADE:
        raise OptionError(
            f"{counted(count, 'row')} of {of_row:,} bytes are more than the {MAX_BYTES_MADE:,} "
            "bytes that a command makes: ask "
            "for fewer at once"
        )


def read_said(path: Path, **options: Any) -> Dataset:
    """``read`` with the table options of the command; what was taken and left out goes to stderr and into its JSON.

    Raises:
        DataError, MissingDependency: as ``read``.
    """
    rows = read(path, table=table_options(), **options)
    if rows.report is not None:
        for line in rows.report.lines():
            _console.note(line)
        reports = _reports.get([])
        reports.append(rows.report)
        _console.documents.set({"data": [report.to_dict() for report in reports]})
    return rows


def read_to_score(vae: VAE, path: Path, **options: Any) -> Dataset:
    """``read_for``, by a command that scores.

    Raises:
        NotExported: the bundle has no scores; said before a row is read, whose faults would hide it.
        InputError, DataError: as ``read_for``.
    """
    _ = vae.heads  # raises where there are none
    return read_for(vae.manifest.input, path, **options)


def read_for(
    spec: InputSpec,
    path: Path,
    *,
    window: int | None = None,
    stride: int | None = None,
    columns: str | None = None,
    size: str | None = None,
    any_size: Manifest | None = None,
) -> Dataset:
    """Read a file as rows of the shape, dtype and layout a bundle takes.

    Columns of a table are found by the names in the bundle. Axes are moved where the file says what they are
    (pictures), and grey pictures become colour for a model of colour pictures.

    Args:
        any_size: the manifest, for a command that takes pictures of every height and width that the bundle does.

    Raises:
        InputError: the bundle has free sizes, and this one is none of them.
        DataError: the file cannot be read, or its rows do not fit the model.
    """
    is_table = path.suffix.lower() in TABLES
    if is_table and path.is_file():
        refuse_table(path, spec)
    if is_table and spec.layout == "time_features" and window is None:
        window = spec.shape[0]
    free = any_size is not None and any_size.free_size is not None
    names = in_model_order(split_columns(columns), spec.names)
    wanted, fit = size_for(spec, image_size(size))
    if (
        wanted is not None
        and size is None
        and not (path.is_dir() or is_pattern(path) or path.suffix.lower() in PICTURES)
    ):
        wanted = None  # the rule is for pictures; arrays are rows already
    dataset = read_said(
        path,
        window=window,
        stride=stride,
        columns=names,
        image_shape=wanted,
        fit=fit,
        features=spec.names if is_table else (),
    )
    x = dataset.x if dataset.x.dtype != np.float64 else round_to_float32(dataset.x)
    if dataset.layout == "nhwc":
        x = _pictures_for(spec, x, path, any_size=free)
    if any_size is not None and free:
        from vae_edge_runtime.free_size.rows import input_for

        spec = input_for(any_size, x)
    if spec.overlap is not None:
        from vae_edge_runtime.scoring.tiling import check_pictures

        return replace(dataset, x=check_pictures(x, spec, str(path)), layout=spec.layout)
    if x.shape[1:] != spec.shape or str(x.dtype) != spec.dtype:
        _refuse_shape(spec, x, path)
    return replace(dataset, x=x, layout=spec.layout)


def _refuse_shape(spec: InputSpec, x: NDArray[Any], path: Path) -> None:
    """Rows of another shape or dtype than the model's, by a session's own check and with what the bundle knows."""
    try:
        # No row is passed on, so that the check costs nothing; its message is about shape and dtype.
        check_rows(np.broadcast_to(np.zeros((), x.dtype), x.shape), shape=spec.shape, dtype=spec.dtype, what=str(path))
    except InputError as error:
        more = f". Normal rows held values from {spec.low:g} to {spec.high:g}"
        if x.shape[1:] != spec.shape:
            more = f". Its columns are {some(spec.names)}" if spec.names and len(spec.shape) == 1 else ""
        raise InputError(f"{error}{more}") from None


def _pictures_for(spec: InputSpec, x: NDArray[Any], path: Path, *, any_size: bool = False) -> NDArray[Any]:
    """Pictures (n, height, width, channels) uint8 in the layout of a model, or an error that says what it takes."""
    n, height, width, channels = x.shape
    colours = "grey" if channels == 1 else "colour"
    have = f"{path}: {counted(n, 'picture')} of {width}x{height} pixels (width x height), {colours}"
    if spec.layout not in ("nchw", "nhwc"):
        if x.shape[1:] == spec.shape and spec.dtype == "uint8":
            return x
        if spec.layout != "any":
            refuse_pictures(path, spec)
        raise DataError(
            f"{have}. The model takes rows of shape {list(spec.shape)}, and the bundle does not say which axis holds "
            "the channels: export it again with --layout nchw (in Python layout='nchw'), or nhwc"
        )
    turned = to_layout(x, "nhwc", spec.layout)
    if spec.dtype != "uint8":
        raise DataError(
            f"{have}, uint8. The model takes {spec.dtype} rows with values from {spec.low:g} to {spec.high:g}: save "
            "the rows as it was trained on them as one .npy, or export it with uint8 rows and --scale 255"
        )
    wanted_channels = spec.shape[0] if spec.layout == "nchw" else spec.shape[2]
    wanted = spec.shape[1:] if spec.layout == "nchw" else spec.shape[:2]
    if (height, width) != wanted and spec.overlap is None and not any_size:
        raise DataError(
            f"{have}. The model takes {wanted[1]}x{wanted[0]}: resize them with --image-size {wanted[0]}x{wanted[1]} "
            "(height x width), if that is how it was trained"
        )
    if channels == 1 < wanted_channels == 3:
        _console.note("  grey pictures became colour, as the model takes colour: all three channels are the same")
        axis = 1 if spec.layout == "nchw" else 3
        if spec.overlap is not None:  # it may be mapped, and large
            return np.broadcast_to(turned, tuple(3 if i == axis else side for i, side in enumerate(turned.shape)))
        return np.repeat(turned, 3, axis=axis)
    if channels != wanted_channels:
        kind = {1: "grey pictures", 3: "colour pictures"}.get(wanted_channels, f"{wanted_channels} channels")
        raise DataError(f"{have}. The model takes {kind}: convert them as it was trained")
    return turned


def to_layout(x: NDArray[Any], have: str, want: str) -> NDArray[Any]:
    """Move the channel axis of images where both layouts are known; else leave the axes alone."""
    if (have, want) == ("nhwc", "nchw"):
        return np.transpose(x, (0, 3, 1, 2))
    if (have, want) == ("nchw", "nhwc"):
        return np.transpose(x, (0, 2, 3, 1))
    return x


def window_length(spec: InputSpec, path: Path, window: int | None) -> int | None:
    """Rows per window where the file is cut into windows; None where its rows are rows."""
    is_table = path.suffix.lower() in TABLES
    return spec.shape[0] if window is None and is_table and spec.layout == "time_features" else window


def with_targets(rows: Dataset, target: Path | None) -> Dataset:
    """The rows with the targets of forecasts beside them; the rows alone where no file is named.

    Raises:
        DataError: as ``targets_of``.
    """
    return rows if target is None else dataclasses.replace(rows, condition=targets_of(target, len(rows)))


def targets_of(path: Path, count: int) -> NDArray[np.float32]:
    """Targets of forecasts out of a file, (n, *target_shape): the whole array of an .npy, or of a table.

    Raises:
        DataError: the file cannot be read, or holds another number of targets than there are rows.
    """
    targets = read(path).x
    if len(targets) != count:
        raise DataError(
            f"{path} holds {counted(len(targets), 'target')}, and there are "
            f"{counted(count, 'row')}: give one per row, in order"
        )
    return np.ascontiguousarray(targets, np.float32)
