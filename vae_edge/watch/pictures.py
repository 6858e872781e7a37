"""Images of a folder that grows, videos and cameras as sources of a stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.images import SUFFIXES, read_image
from vae_edge_runtime._require import require
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.specs import InputSpec
from vae_edge_runtime.stream import Rows

POLL_S = 0.2
Size = tuple[int, int]


class PictureFolder:
    """Images below a folder by name; followed, also those that appear later, once they have stopped growing."""

    def __init__(
        self, folder: Path, spec: InputSpec, size: Size | None, *, follow: bool, poll_s: float = POLL_S
    ) -> None:
        """``size`` (height, width): resize to it; without it images must have the model's."""
        check_pictures(spec, str(folder))
        self._folder, self._spec, self._size = folder, spec, size
        self._follow, self._poll_s, self._closed = follow, poll_s, False

    def close(self) -> None:
        """End the iteration at the next look."""
        self._closed = True

    def __iter__(self) -> Iterator[Rows | None]:
        # Of a folder without end names are kept, some 100 bytes each: files may come in any order.
        done: set[Path] = set()
        growing: dict[Path, tuple[int, int]] = {}
        while not self._closed:
            before, growing = growing, {}
            for path in sorted(p for p in self._folder.rglob("*") if p.suffix.lower() in SUFFIXES and p not in done):
                if self._closed:
                    return
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # renamed meanwhile
                growing[path] = (status.st_size, status.st_mtime_ns)
                if self._follow and before.get(path) != growing[path]:
                    continue  # look once more, whether it has stopped growing
                done.add(path)
                yield self._row(path)
            if not self._follow:
                if not done:
                    raise DataError(f"{self._folder} holds no image ({', '.join(sorted(SUFFIXES))})")
                return
            yield None
            time.sleep(self._poll_s)

    def _row(self, path: Path) -> Rows:
        name = path.relative_to(self._folder).as_posix()
        return Rows(as_frame(read_image(path, self._size), self._spec, name)[None], None, (name,))


class Video:
    """Frames of a video file, or of a camera by its number, through OpenCV."""

    def __init__(self, source: Path | int, spec: InputSpec, size: Size | None) -> None:
        """Open it now, so that its errors come now.

        Raises:
            MissingDependency: OpenCV is not installed. DataError: it cannot be opened.
        """
        check_pictures(spec, str(source))
        self._cv: Any = require("cv2", extra="video", why="reading videos and cameras")
        self._spec, self._size, self._source, self._closed = spec, size, source, False
        self._capture = self._cv.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            what = f"camera {source}" if isinstance(source, int) else str(source)
            raise DataError(f"{what} cannot be opened as a video: is it there, and does this OpenCV know its format?")

    def close(self) -> None:
        """Release it after the frame that is being read."""
        self._closed = True

    def __iter__(self) -> Iterator[Rows]:
        count = 0
        try:
            while not self._closed:
                good, frame = self._capture.read()
                if not good:
                    break
                # A camera has no time of its own; a file's says when the frame was recorded.
                at = (
                    time.monotonic()
                    if isinstance(self._source, int)
                    else self._capture.get(self._cv.CAP_PROP_POS_MSEC) / 1e3
                )
                yield Rows(self._frame(frame, f"frame {count}")[None], np.array([at]))
                count += 1
        finally:
            self._capture.release()
        if not count and not self._closed:
            raise DataError(f"{self._source} gave no frame")

    def _frame(self, frame: Any, name: str) -> NDArray[np.uint8]:
        grey = self._spec.shape[0 if self._spec.layout == "nchw" else 2] == 1
        turned = self._cv.cvtColor(frame, self._cv.COLOR_BGR2GRAY if grey else self._cv.COLOR_BGR2RGB)
        if self._size is not None:
            turned = self._cv.resize(turned, self._size[::-1], interpolation=self._cv.INTER_AREA)
        return as_frame(turned[:, :, None] if grey else turned, self._spec, name)


def check_pictures(spec: InputSpec, where: str) -> None:
    """Raise DataError unless the model takes 8-bit images."""
    if spec.layout not in ("nchw", "nhwc") or spec.dtype != "uint8":
        raise DataError(f"{where} holds 8-bit images; the model takes {spec.dtype} rows of layout {spec.layout}")


def as_frame(picture: NDArray[np.uint8], spec: InputSpec, name: str) -> NDArray[np.uint8]:
    """(height, width, 1 or 3) in the shape and layout of the model; grey becomes colour, never the reverse.

    Raises:
        DataError: another size, or colour for a model of grey images.
    """
    channels, height, width = spec.shape if spec.layout == "nchw" else (spec.shape[2], *spec.shape[:2])
    if picture.shape[:2] != (height, width):
        raise DataError(
            f"{name} is {picture.shape[1]}x{picture.shape[0]}, the model takes {width}x{height}: resize with "
            f"--image-size {height}x{width}, if that is how it was trained"
        )
    if picture.shape[2] != channels:
        if picture.shape[2] != 1:
            raise DataError(f"{name} has {picture.shape[2]} channels, the model takes {channels}")
        picture = np.broadcast_to(picture, (height, width, channels))
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0) if spec.layout == "nchw" else picture)
