"""What a file is, by its first bytes and by the kind of its entry, before a reader opens it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vae_edge_runtime.errors import DataError

_AS_CSV = "open it there and save the sheet as CSV"
_UNPACK = "unpack it first"
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook (.xlsx)", "save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", _AS_CSV),
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"BZh9", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"PAR1", "a Parquet file", "let its name end with .parquet"),
    (b"\x93NUMPY", "a numpy array", "let its name end with .npy"),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", "save the table as CSV or Parquet"),
    (b"SQLite format 3", "an SQLite database", "save the table as CSV or Parquet"),
    (b"%PDF", "a PDF document", "bring the table as CSV"),
    (b"%!PS", "a PostScript document", "bring the data itself"),
    (b"\x89PNG", "a PNG picture", "let its name end with .png"),
    (b"\xff\xd8\xff", "a JPEG picture", "let its name end with .jpg"),
    (b"GIF8", "a GIF picture", "save it as PNG"),
    (b"{\\rtf", "a text document (RTF)", "save the table as CSV"),
    (b"<!doctype", "a web page", _AS_CSV),
    (b"<html", "a web page", _AS_CSV),
    (b"<table", "a web page", _AS_CSV),
    (b"<?xml", "XML", _AS_CSV),
)
"""First bytes, what such a file is, and what to do with it."""
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
"""Read by ``vae_edge.watch`` alone: a stream, and no set of rows."""
ADVICE = {
    (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"): "save the sheet as CSV",
    (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz"): "unpack it first",
    (".txt", ".dat", ".asc", ".prn", ".tab", ".data", ".log"): "a table of text is read under the ending .csv",
    (".json", ".ndjson"): "write one object a line, and end the name with .jsonl",
    (".feather", ".arrow", ".ipc", ".orc", ".h5", ".hdf5", ".mat", ".pkl", ".sqlite", ".db"): (
        "save the table as Parquet or CSV, or arrays as .npz"
    ),
    (".pt", ".pth", ".tfrecord"): "save the rows as .npy or .npz",
    (".heic", ".heif", ".avif", ".gif", ".psd", ".dng", ".cr2", ".nef"): "save the picture as PNG or JPEG",
    VIDEO_SUFFIXES: "vae-edge watch reads videos; for training save the frames as pictures",
}
"""Endings of other files to what to do with them."""


class NoRows(DataError):
    """A table with columns and without a row: a partition that happens to be empty."""


def check_regular(path: Path) -> os.stat_result:
    """The status of a regular file; a pipe or a device would block, or never end.

    Raises:
        DataError: it is absent, or no regular file.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = next((word for test, word in _KINDS if test(status.st_mode)), "no regular file")
        raise DataError(f"{path} is {kind}: name a regular file")
    return status


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def refuse_other_kind(path: Path, head: bytes, wanted: str) -> None:
    """Refuse a file whose first bytes say that it is something else than its name says.

    Raises:
        DataError: the message says what the file is, and what to do.
    """
    text = head.lstrip(b" \t\r\n").lower()
    for magic, kind, remedy in _MAGIC:
        if head.startswith(magic) or (magic[:1] == b"<" and text.startswith(magic)):
            if remedy == _AS_CSV and wanted == "readable image":
                remedy = "bring the picture itself"
            raise DataError(f"{path} is no {wanted}; its first bytes say that it is {kind}: {remedy}")


def advice(suffix: str) -> str:
    """What to do with a file of an ending that is not read, in lower case; empty where nothing is known."""
    return next((what for endings, what in ADVICE.items() if suffix in endings), "")
