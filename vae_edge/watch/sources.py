"""SOURCE of ``vae-edge watch``: what it is, by its name, and how it is read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime._require import require
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.specs import InputSpec
from vae_edge_runtime.stream import Rows

from .columns import times_of
from .pictures import PictureFolder, Video
from .text_files import CsvLines, Followed, JsonLines, Parser, csv_file, lines_of

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
_PARQUET_ROWS = 1 << 14


@dataclass(frozen=True)
class Source:
    """Blocks of rows, and whether they come whether or not anybody is ready for them."""

    rows: Iterable[Rows | None]
    live: bool


def open_source(
    name: str,
    spec: InputSpec,
    *,
    follow: bool = False,
    time_column: str | None = None,
    columns: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> Source:
    """A source by its name: ``-``, a .csv, .jsonl, .parquet or video file, a folder of images, ``camera:0``.

    Args:
        name: as above.
        spec: what the model takes.
        follow: go on where a file or folder ends.
        time_column: of a table; of JSON objects the key, default ``time``.
        columns: of a table or of JSON objects, in the order of the model's features; default: its names.
        size: (height, width) to resize images to.

    Raises:
        DataError: it is not there, or cannot be what the model takes. OptionError: it cannot be followed.
        MissingDependency: Pillow, pyarrow or OpenCV is needed and not installed.
    """
    camera = name.removeprefix("camera:")
    if camera != name:
        if not camera.isdigit():
            raise OptionError(f"source is {name!r}; a camera has a number, such as camera:0")
        return Source(Video(int(camera), spec, size), live=True)
    path = Path(name)
    suffix = path.suffix.lower()
    if name != "-" and not path.exists():
        raise DataError(f"{name} does not exist")
    if path.is_dir():
        require("PIL", extra="images", why="reading images")
        return Source(PictureFolder(path, spec, size, follow=follow), live=follow)
    if follow and suffix not in (".csv", ".jsonl"):
        raise OptionError(f"{name} cannot be followed: --follow is for .csv, .jsonl and folders of images")
    if suffix in VIDEO_SUFFIXES:
        return Source(Video(path, spec, size), live=False)
    if spec.layout not in ("features", "time_features"):
        raise DataError(f"{name} holds rows of numbers; the model takes rows of layout {spec.layout}")
    names, count = columns or spec.names, spec.shape[-1]
    parser: Parser
    if name == "-" or suffix == ".jsonl":
        parser = JsonLines("stdin" if name == "-" else name, names=names, count=count, time_column=time_column)
    elif suffix == ".csv":
        parser = CsvLines(name, names=names, count=count, time_column=time_column)
    elif suffix == ".parquet":
        return Source(_parquet(path, names, count, time_column), live=False)
    else:
        raise DataError(
            f"{name} is no folder and ends with none of .csv, .jsonl, .parquet, {', '.join(VIDEO_SUFFIXES)}"
        )
    if name == "-":
        return Source(lines_of(sys.stdin.buffer, parser, "stdin"), live=False)
    return Source(Followed(path, parser), live=True) if follow else Source(csv_file(path, parser), live=False)


def _parquet(path: Path, names: tuple[str, ...], count: int, time_column: str | None) -> Iterator[Rows]:
    arrow = require("pyarrow", extra="parquet", why="reading Parquet")
    parquet = require("pyarrow.parquet", extra="parquet", why="reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            have = file.schema_arrow.names
            wanted = list(names) or [name for name in have if name != time_column]
            needed = [*wanted, *([time_column] if time_column else [])]
            if absent := [name for name in needed if name not in have]:
                raise DataError(f"{path} lacks the columns {', '.join(absent)}; it has {', '.join(have)}")
            if len(wanted) != count:
                raise DataError(f"{path} has {len(wanted)} columns of features, the model takes {count}: use --columns")
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=needed):
                yield _block(arrow, batch, wanted, time_column, str(path))
    except (OSError, ValueError, arrow.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _block(arrow: object, batch: object, wanted: list[str], time_column: str | None, where: str) -> Rows:
    types, values, missing = arrow.types, [], []  # type: ignore[attr-defined]
    for name in wanted:
        column = batch.column(name)  # type: ignore[attr-defined]
        if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type)):
            raise DataError(f"{where} column {name!r} is {column.type}, no numbers")
        missing.append(np.asarray(column.is_null().to_numpy(zero_copy_only=False)))
        values.append(column.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False))  # type: ignore[attr-defined]
    time: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    if time_column is not None:
        column = batch.column(time_column)  # type: ignore[attr-defined]
        if types.is_timestamp(column.type):
            nanoseconds = column.cast(arrow.timestamp("ns")).cast(arrow.int64())  # type: ignore[attr-defined]
            time = np.asarray(nanoseconds.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e9
            labels = tuple(map(str, column.to_pylist()))
        else:
            time, labels = times_of(tuple(map(str, column.to_pylist())), where)
    absent = np.stack(missing, axis=1)
    return Rows(np.stack(values, axis=1), time, labels, absent if absent.any() else None)
