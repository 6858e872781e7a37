"""SOURCE of ``vae-edge watch``: what it is, by its name, and how it is read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.arrow_numbers import as_float64, is_numeric
from vae_edge.data.files import VIDEO_SUFFIXES, check_regular
from vae_edge.data.folders import SUFFIXES as PICTURES
from vae_edge.data.folders import is_pattern
from vae_edge.data.misfit import lacking, refuse_table, taken
from vae_edge.data.options import TableOptions, in_model_order, split_lessened
from vae_edge.data.report import some
from vae_edge_runtime import arguments
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.stream import Rows
from vae_edge_runtime.text import counted

from .followed import Followed
from .pictures import PictureFolder, Video
from .text_files import CsvLines, JsonLines, Parser, left_out, lines_of, text_file
from .times import Times

NETWORK = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://")
"""Of a camera in the network, where this OpenCV has FFmpeg or GStreamer."""
_PARQUET_ROWS = 1 << 14
_CSV = (".csv", ".tsv")
_MOST_PIXELS = 1 << 16
"""Of one side of a picture."""


@dataclass(frozen=True)
class Source:
    """Blocks of rows.

    Attributes:
        live: they come whether or not anybody is ready for them.
        may_pause: they can stop coming without an end.
        position: where it stands, between two blocks; None: it cannot be read twice, as a pipe or a camera.
        lost: in words, which rows are missing since the position that it was to go on from.
    """

    rows: Iterable[Rows | None]
    live: bool
    may_pause: bool
    position: Callable[[], dict[str, Any]] | None = None
    lost: str = ""


@checked
def open_source(
    name: str | os.PathLike[str],
    spec: InputSpec,
    *,
    follow: bool = False,
    time_column: str | None = None,
    columns: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
    table: TableOptions | None = None,
    note: Callable[[str], None] | None = None,
    resumable: bool = False,
    position: Mapping[str, Any] | None = None,
) -> Source:
    """A source by its name: ``-``, a .csv, .jsonl, .parquet or video file, a folder of images, ``camera:0``, ``rtsp://...``.

    Args:
        name: as above.
        spec: what the model takes.
        follow: go on where a file or folder ends.
        time_column: of a table; of JSON objects the key, default ``time``.
        columns: of a table or of JSON objects, in the order of the model's features; default: its names.
        size: (height, width) to resize images to.
        table: how a table is written; columns are those of the model.
        note: is told which columns of a table are left out.
        resumable: its ``position`` will be asked for; of a pipe and a camera there is none.
        position: of an earlier source of this name, to go on from.

    Raises:
        DataError: it is not there, cannot be what the model takes, or is another one than at ``position``.
        OptionError: it cannot be followed, or not be resumed.
        MissingDependency: Pillow, pyarrow or OpenCV is needed and not installed.
    """
    name = os.fspath(name)
    for axis in size or ():
        arguments.whole_number("size", axis, low=1, high=_MOST_PIXELS)
    camera = name.removeprefix("camera:")
    if camera != name:
        if not camera.isdigit():
            raise OptionError(f"source is {name!r}; a camera has a number, such as camera:0")
        return Source(Video(int(camera), spec, size), live=True, may_pause=True)
    if name.startswith(NETWORK):
        return Source(Video(name, spec, size), live=True, may_pause=True)
    path = Path(name)
    suffix = path.suffix.lower()
    if is_pattern(path) or (suffix in PICTURES and not path.is_dir()):
        raise DataError(f"{name} names pictures, and no stream of them: watch takes their folder; vae-edge score takes "
                        "single pictures and patterns")  # fmt: skip
    awaited = follow and suffix in (*_CSV, ".jsonl")
    if name != "-" and not awaited and not path.exists():
        raise DataError(f"{name} does not exist")
    if path.is_dir():
        require("PIL", extra="images", why="reading images")
        pictures = PictureFolder(path, spec, size, follow=follow, position=position)
        return Source(pictures, live=False, may_pause=follow, position=pictures.position)
    if follow and suffix not in (*_CSV, ".jsonl"):
        raise OptionError(f"{name} cannot be followed: --follow is for .csv, .jsonl and folders of images")
    if resumable and suffix in (*VIDEO_SUFFIXES, ".parquet"):
        raise OptionError(f"{name} is read from its begin each time: --state is for .csv, .jsonl, folders of images, "
                          "- and cameras")  # fmt: skip
    if suffix in VIDEO_SUFFIXES:
        return Source(Video(path, spec, size), live=False, may_pause=False)
    if name != "-" and (path.exists() or not awaited):
        check_regular(path)
    if spec.layout not in ("features", "time_features"):
        refuse_table("stdin" if name == "-" else name, spec)
        raise DataError(f"{name} holds rows of numbers; the model takes {taken(spec)}")
    table = table or TableOptions()
    if table.subtract or table.drop_missing:
        raise OptionError("a stream decides about every row, and the bundle says what is subtracted: leave out "
                          "--subtract and --drop-missing")  # fmt: skip
    lessened = [split_lessened(feature) or (feature, 0.0) for feature in spec.names]
    names = in_model_order(columns, [name for name, _ in lessened]) if columns else tuple(n for n, _ in lessened)
    parser = _parser(name, names or (), spec.shape[-1], time_column, table, note)
    if parser is None:
        rows = _parquet(path, names or (), spec.shape[-1], time_column, note)
        source = Source(rows, live=False, may_pause=False)
    elif name == "-":
        source = Source(lines_of(_stdin(), parser, "stdin"), live=False, may_pause=True)
    elif follow or resumable:
        followed = Followed(path, parser, forever=follow, note=note, position=position)
        source = Source(followed, live=False, may_pause=follow, position=followed.position, lost=followed.lost)
    else:
        source = Source(text_file(path, parser), live=False, may_pause=False)
    minus = np.array([value for _, value in lessened])
    return replace(source, rows=Lessened(source.rows, minus)) if minus.any() else source


class Lessened:
    """Rows of a source minus what the names of a model's features say, in float64."""

    def __init__(self, rows: Iterable[Rows | None], minus: NDArray[np.float64]) -> None:
        """``minus``: one number per feature."""
        self._rows, self._minus = rows, minus

    def close(self) -> None:
        """Close the source, where it can be closed."""
        if close := getattr(self._rows, "close", None):
            close()

    def __iter__(self) -> Iterator[Rows | None]:
        for rows in self._rows:
            yield None if rows is None else replace(rows, values=rows.values - self._minus)


def _parser(
    name: str,
    names: tuple[str, ...],
    count: int,
    time_column: str | None,
    table: TableOptions,
    note: Callable[[str], None] | None,
) -> Parser | None:
    """What makes rows of the lines of a source; None for Parquet, which has no lines."""
    suffix = Path(name).suffix.lower()
    if name == "-" or suffix == ".jsonl":
        where = "stdin" if name == "-" else name
        return JsonLines(where, names=names, count=count, time_column=time_column, note=note)
    if suffix in _CSV:
        return CsvLines(name, names=names, count=count, time_column=time_column, table=table, note=note)
    if suffix == ".parquet":
        return None
    raise DataError(f"{name} is no folder and ends with none of .csv, .jsonl, .parquet, {', '.join(VIDEO_SUFFIXES)}")


def _stdin() -> BinaryIO:
    """Stdin without a buffer: a thread that waits in one holds its lock, and Python aborts at exit."""
    if sys.stdin is None:
        raise DataError("stdin is closed: pipe JSON Lines into it")
    return FileIO(sys.stdin.fileno(), closefd=False)


def _parquet(
    path: Path, names: tuple[str, ...], count: int, time_column: str | None, note: Callable[[str], None] | None
) -> Iterator[Rows]:
    arrow = require("pyarrow", extra="parquet", why="reading Parquet")
    parquet = require("pyarrow.parquet", extra="parquet", why="reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            have = file.schema_arrow.names
            wanted = list(names) or [name for name in have if name != time_column]
            needed = [*wanted, *([time_column] if time_column else [])]
            if any(name not in have for name in wanted):
                raise DataError(f"{path} {lacking(wanted, have, count)}")
            if time_column is not None and time_column not in have:
                raise DataError(f"{path} has no column {time_column!r} for the time; it has {some(have, 40)}")
            if twice := [name for name in needed if have.count(name) > 1]:
                raise DataError(f"{path} names a column twice: {some(twice)}; rename one")
            if len(wanted) != count:
                raise DataError(
                    f"{path}: the model takes {counted(count, 'column')}; the rows have {len(wanted)}: use --columns"
                )
            if note is not None and (others := [name for name in have if name not in needed]):
                note(left_out(str(path), others))
            times = Times(str(path))
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=needed):
                if len(batch):
                    yield _block(arrow, batch, wanted, time_column, times, str(path))
    except (OSError, ValueError, arrow.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _block(arrow: Any, batch: Any, wanted: list[str], time_column: str | None, times: Times, where: str) -> Rows:
    types, values, missing = arrow.types, [], []
    for name in wanted:
        column = batch.column(name)
        if not is_numeric(arrow, column.type):
            raise DataError(f"{where} column {name!r} is {column.type}, no numbers")
        missing.append(np.asarray(column.is_null().to_numpy(zero_copy_only=False)))
        values.append(as_float64(arrow, column))
    time: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    if time_column is not None:
        column = batch.column(time_column)
        if types.is_timestamp(column.type):  # as text it would be rounded to microseconds, or refused
            moments = column.to_numpy(zero_copy_only=False)
            texts = np.datetime_as_string(moments, unit=column.type.unit).tolist()
        else:
            texts = ["" if moment is None else str(moment) for moment in column.to_pylist()]
        time, labels = times(texts)
    absent = np.stack(missing, axis=1)
    return Rows(np.stack(values, axis=1), time, labels, absent if absent.any() else None)
