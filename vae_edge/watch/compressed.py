"""Rows of a stream in a file of compressed rows, over restarts: no row is lost and none is there twice.

Rows that fill no block yet wait in a second file, ``FILE.waiting``, as they are. A state says how many windows were
taken and from which on they wait, so that a process that ends at any moment loses nothing that a state counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import VAE
from vae_edge_runtime.codec.container import Frames, Reader, open_frames
from vae_edge_runtime.codec.parts import RAW
from vae_edge_runtime.codec.rows import Wish
from vae_edge_runtime.codec.writer import Writer
from vae_edge_runtime.errors import CompressedError, DataError, OptionError, StorageError
from vae_edge_runtime.stream.rows import Rows
from vae_edge_runtime.stream.state import packed, unpacked

BLOCK_ROWS = 256
"""Of the file: a reader who follows it waits for so many; 1,000 would take 0.5 % fewer bytes."""


class CompressedFile:
    """Takes the rows of a stream, and writes a block when there are enough windows.

    Attributes:
        left_over: rows that fill no window yet. dropped_bytes: of a block that an earlier process did not finish.
    """

    def __init__(
        self, vae: VAE, path: Path, *, saved: Mapping[str, Any] | None, again: bool, block_rows: int = BLOCK_ROWS,
        **how: Any,
    ) -> None:  # fmt: skip
        """Begin a file, or go on with the one that is there.

        Args:
            vae: compresses. path: of the file. how: options of ``VAE.compress_file``.
            saved: what ``state`` gave; None: nothing is known but the file.
            again: the source gives rows behind that state once more.

        Raises:
            OptionError: ``how`` asks for nothing that the bundle has.
            PairMismatch: the file belongs to another bundle.
            DataError: ``saved`` is of another file, or the file has fewer rows than it says.
        """
        spec = vae.manifest.input
        self._path, self._waiting_path = path, path.parent / f"{path.name}.waiting"
        self._length = spec.shape[0] if spec.layout == "time_features" else 1
        self._row_shape = spec.shape[1:] if self._length > 1 else spec.shape
        self._partial: NDArray[Any] = np.zeros((0, *self._row_shape), spec.dtype)
        self._writer = vae.compress_file(path, append=True, block_rows=block_rows, **how)
        self.dropped_bytes = self._writer.dropped_bytes
        self._windows, self._since, self._skip = self._writer.rows, self._writer.rows, 0
        self._unsaved: list[NDArray[Any]] = []
        self._waiting: Writer | None = None
        try:
            if saved is not None:
                self._restore(saved, again=again)
            if self._waiting is None:
                self._begin_waiting()
        except BaseException:
            self.abort()
            raise

    @property
    def left_over(self) -> int:
        """Rows that fill no window yet."""
        return len(self._partial)

    def take(self, rows: Rows) -> None:
        """Rows of the stream, each once and in their order.

        Raises:
            StorageError: they could not be written.
        """
        values = rows.values
        if rows.missing is not None and rows.missing.any():  # what lies there may be anything
            values = np.where(rows.missing, np.nan, values).astype(values.dtype)
        x: NDArray[Any] = values
        if self._length > 1:
            values = np.concatenate([self._partial, values])
            whole = len(values) // self._length * self._length
            x, self._partial = values[:whole].reshape(-1, self._length, *self._row_shape), values[whole:].copy()
        self._windows += len(x)
        skipped = min(self._skip, len(x))
        self._skip -= skipped
        x = x[skipped:]
        while len(x):
            piece = x[: self._writer.block_rows - self._writer.held]
            x = x[len(piece) :]
            self._writer.write(piece)
            self._unsaved.append(piece.copy())
            if not self._writer.held:  # a block of them all is in the file now
                self._writer.sync()
                self._begin_waiting()

    def state(self) -> dict[str, Any]:
        """What the next process needs to go on, as plain values for JSON; rows that wait are on the disk then.

        Raises:
            StorageError: they could not be written.
        """
        if self._unsaved and self._waiting is not None:
            self._waiting.write(np.concatenate(self._unsaved))
            self._waiting.flush()
            self._waiting.sync()
            self._unsaved = []
        return {
            "file": os.path.abspath(self._path),  # noqa: PTH100  a name that need not be resolved
            "windows": self._windows,
            "since": self._since,
            "partial": packed(self._partial),
        }

    def close(self) -> None:
        """Write what waits and the end mark.

        Raises:
            StorageError: the disk refused; rows that a state counts wait on the disk.
        """
        self._writer.close()
        if self._waiting is not None:
            self._waiting.close()
            self._waiting_path.unlink(missing_ok=True)

    def abort(self) -> None:
        """Leave both files as they are, for the process that goes on."""
        for writer in (self._writer, self._waiting):
            if writer is not None:
                writer.abandon()

    def __enter__(self) -> CompressedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abort()

    def _begin_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.abandon()
        self._since, self._unsaved = self._writer.rows, []
        try:
            file: Any = self._waiting_path.open("w+b")
        except OSError as error:
            raise StorageError(f"{self._waiting_path} could not be made ({error.strerror})") from error
        self._waiting = self._raw_writer(file, None)

    def _raw_writer(self, file: Any, frames: Frames | None) -> Writer:
        return Writer(file, self._writer.codec, Wish(RAW, False, False), block_rows=BLOCK_ROWS, frames=frames)

    def _restore(self, saved: Mapping[str, Any], *, again: bool) -> None:
        rows = self._writer.rows
        try:
            file, windows, since = str(saved["file"]), int(saved["windows"]), int(saved["since"])
            shape = (-1, *self._row_shape)
            partial = unpacked(saved["partial"], (str(self._partial.dtype),), shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"what the state says of compressed rows cannot be read ({error})") from error
        if file != os.path.abspath(self._path):  # noqa: PTH100
            raise OptionError(f"the state goes with --compress {file}: name that file, or another --state")
        if rows < since:
            raise DataError(
                f"{self._path} holds {rows} rows, and the state counts {since} in it: give the file back, or begin "
                "with another --state and another file"
            )
        self._partial = partial
        if rows >= windows:  # blocks were written after the state was
            self._windows, self._skip = (windows, rows - windows) if again else (rows, 0)
            return
        self._windows, self._since = windows, since
        self._take_waiting(windows - since, first=rows - since)

    def _take_waiting(self, count: int, *, first: int) -> None:
        """Rows ``first`` to ``count`` of those that wait wait again; what follows them comes from the source again."""
        try:
            file, frames = open_frames(self._waiting_path, "r+b")
        except CompressedError as error:
            raise DataError(f"{self._waiting_path} lacks the {count} rows that the state counts: {error}") from error
        blocks: list[NDArray[Any]] = []
        try:
            if frames.identity != self._writer.codec.identity:
                raise DataError(f"{self._waiting_path} belongs to another bundle than {self._path}")
            reader = iter(Reader(file, self._writer.codec, frames, allow_torn=True))
            while frames.rows < count and (block := next(reader, None)) is not None:
                blocks.append(block.rows)
            if frames.rows != count:
                raise DataError(f"{self._waiting_path} holds {frames.rows} rows where the state counts {count}")
        except BaseException:
            file.close()
            raise
        self._waiting = self._raw_writer(file, frames)
        self._writer.write(np.concatenate(blocks)[first:])
