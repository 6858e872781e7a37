"""Images of a folder that grows, videos and cameras as sources of a stream."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.fitting import placed, size_for
from vae_edge.data.folders import SUFFIXES, list_pictures
from vae_edge.data.images import read_image
from vae_edge.data.misfit import refuse_pictures
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.stream import Rows

POLL_S = 0.2
PATIENCE_S = 5.0
"""How long a followed folder waits for a picture to become readable, since it last changed."""
Size = tuple[int, int]
_Stamp = tuple[str, int, int]


class PictureFolder:
    """Images below a folder by name; followed, also those that appear later, once they have stopped growing."""

    def __init__(
        self,
        folder: Path,
        spec: InputSpec,
        size: Size | None,
        *,
        follow: bool,
        poll_s: float = POLL_S,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        """``size`` (height, width): resize to it; without it images must have the model's.

        Raises:
            DataError: the model takes no pictures, or ``position`` is none of ``position``.
        """
        check_pictures(spec, str(folder))
        self._folder, self._spec = folder, spec
        self._size, self._fit = size_for(spec, size)
        self._follow, self._poll_s, self._closed = follow, poll_s, False
        names = [] if position is None else position.get("done")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"the state does not say which pictures of {folder} were decided")
        self._done: set[str] = set(names)
        """Names of what still lies there: files may come in any order."""

    def position(self) -> dict[str, Any]:
        """Names of the pictures that were given."""
        return {"done": sorted(self._done)}

    def close(self) -> None:
        """End the iteration at the next look."""
        self._closed = True

    def __iter__(self) -> Iterator[Rows | None]:
        done = self._done
        before: set[_Stamp] = set()
        refused: dict[_Stamp, float] = {}
        while not self._closed:
            names, stamps = self._look(done)
            done &= names
            refused = {stamp: since for stamp, since in refused.items() if stamp in stamps}
            for stamp in sorted(stamps):
                if self._closed:
                    return
                if self._follow and stamp not in before:
                    continue  # look once more, whether it has stopped growing
                name = stamp[0]
                try:
                    picture = read_image(self._folder / name, self._size, self._fit)
                except DataError:
                    # Its writer may have paused, or it has just been removed.
                    if not self._follow or time.monotonic() - refused.setdefault(stamp, time.monotonic()) > PATIENCE_S:
                        raise
                    continue
                done.add(name)
                yield Rows(as_frame(picture, self._spec, name)[None], None, (name,))
            if not self._follow:
                if not done:
                    raise DataError(f"{self._folder} holds no image ({', '.join(sorted(SUFFIXES))})")
                return
            before = stamps
            yield None
            time.sleep(self._poll_s)

    def _look(self, done: set[str]) -> tuple[set[str], set[_Stamp]]:
        """Names of all images in the folder, and those not done yet with their size and time of change."""
        names: set[str] = set()
        stamps: set[_Stamp] = set()
        for path in list_pictures(self._folder).pictures:
            name = path.relative_to(self._folder).as_posix()
            names.add(name)
            if name in done:
                continue
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                status = path.stat()
                stamps.add((name, status.st_size, status.st_mtime_ns))
        return names, stamps


class Video:
    """Frames of a video file, of a camera by its number, or of a network camera by its URL, through OpenCV."""

    def __init__(self, source: Path | str | int, spec: InputSpec, size: Size | None) -> None:
        """Open it now, so that its errors come now.

        Raises:
            MissingDependency: OpenCV is not installed. DataError: it cannot be opened.
        """
        check_pictures(spec, str(source))
        self._cv: Any = require("cv2", extra="video", why="reading videos and cameras")
        self._spec, self._source, self._closed = spec, source, False
        self._size, self._fit = size_for(spec, size)
        self._live = not isinstance(source, Path)
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
                    if self._live:
                        raise DataError(f"camera {self._source} gave no frame after {count}: is it still there?")
                    break
                # A camera has no time of its own; a file's says when the frame was recorded.
                at = time.monotonic() if self._live else round(self._capture.get(self._cv.CAP_PROP_POS_MSEC) / 1e3, 6)
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
            turned = self._resized(turned, self._size)
        return as_frame(turned[:, :, None] if grey else turned, self._spec, name)

    def _resized(self, frame: Any, size: Size) -> Any:
        (top, left, bottom, right), (down, across, height, width) = placed(frame.shape[:2], size, self._fit)
        inner = self._cv.resize(frame[top:bottom, left:right], (width, height), interpolation=self._cv.INTER_AREA)
        if (height, width) == size:
            return inner
        whole = np.zeros((*size, *frame.shape[2:]), frame.dtype)
        whole[down : down + height, across : across + width] = inner
        return whole


def check_pictures(spec: InputSpec, where: str) -> None:
    """Raise DataError unless the model takes 8-bit images."""
    refuse_pictures(where, spec)


def as_frame(picture: NDArray[np.uint8], spec: InputSpec, name: str) -> NDArray[np.uint8]:
    """(height, width, 1 or 3) in the shape and layout of the model; grey becomes colour, never the reverse.

    A bundle of tiles takes any size that is no smaller than a tile.

    Raises:
        DataError: another size, or colour for a model of grey images.
    """
    channels, height, width = spec.shape if spec.layout == "nchw" else (spec.shape[2], *spec.shape[:2])
    if spec.overlap is not None:
        if picture.shape[0] < height or picture.shape[1] < width:
            raise DataError(f"{name} is {picture.shape[1]}x{picture.shape[0]}, smaller than a tile of the model, "
                            f"{width}x{height}: leave it out, or take a smaller tile at export")  # fmt: skip
    elif picture.shape[:2] != (height, width):
        raise DataError(
            f"{name} is {picture.shape[1]}x{picture.shape[0]}, the model takes {width}x{height}: resize with "
            f"--image-size {height}x{width}, if that is how it was trained"
        )
    if picture.shape[2] != channels:
        if picture.shape[2] != 1:
            raise DataError(f"{name} has {picture.shape[2]} channels, the model takes {channels}")
        picture = np.broadcast_to(picture, (*picture.shape[:2], channels))
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0) if spec.layout == "nchw" else picture)
