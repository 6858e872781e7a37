"""TIFF files that are too large to decode at once, and pyramids: unpacked tile by tile into a file that is mapped."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError

from .limits import LIMITS, check_limit

SUFFIXES = (".tif", ".tiff")
HINT = 'a large TIFF, and a pyramid, is read by its tiles with tifffile: pip install "vae-edge[tiff]"'
_UPRIGHT = 1


def installed() -> bool:
    """Whether tifffile is there; without it Pillow refuses such files, with ``HINT``."""
    return importlib.util.find_spec("tifffile") is not None


def mapped_tiff(file: Path) -> NDArray[np.uint8] | None:
    """(height, width, 1 or 3) uint8 of a pyramid's largest level, or of one picture above Pillow's limit; else None.

    It lies in a temporary file without a name, as many bytes as it has values, and takes no memory of its own.

    Raises:
        DataError: it has no rule, is damaged, or is packed in a way that tifffile alone cannot unpack.
    """
    if file.suffix.lower() not in SUFFIXES or not installed():
        return None
    tifffile = require("tifffile", extra="tiff", why="reading large TIFF files")
    try:
        opened = tifffile.TiffFile(file)
    except Exception:
        return None
    with opened:
        try:
            page, levels, pictures = _largest(opened)
        except Exception as error:
            raise DataError(f"{file} is not a readable image: {error}") from error
        if levels == 1 and page.imagewidth * page.imagelength <= LIMITS["pixels of a picture"].most:
            return None
        _check(file, page, pictures)
        try:
            return _unpacked(page)
        except MemoryError:
            raise
        except Exception as error:
            if "imagecodecs" in str(error):
                raise DataError(f"{file} is packed as {_packing(error)}: pip install imagecodecs, or save the TIFF "
                                "with deflate or without compression") from error  # fmt: skip
            raise DataError(f"{file} is not a readable image: {error}") from error


def _largest(opened: Any) -> tuple[Any, int, int]:
    """The page of the largest level, how many levels there are, and how many pictures the file holds."""
    first, *others = opened.series
    # Levels are not always tied together: a smaller copy then says so itself.
    own = [series for series in others if not series.levels[0].pages[0].is_reduced]
    levels = len(first.levels) + len(others) - len(own)
    return first.levels[0].pages[0], levels, len(first.levels[0].pages) + len(own)


def _check(file: Path, page: Any, pictures: int) -> None:
    if pictures > 1:
        raise DataError(f"{file} holds {pictures} pictures: save each as a file of its own")
    if page.dtype != np.uint8:
        raise DataError(f"{file} is {page.dtype}: 8-bit pictures are read, save others as one .npy array of float32")
    colours = {1: ("MINISBLACK",), 3: ("RGB", "YCBCR")}.get(page.samplesperpixel, ())
    if page.photometric.name not in colours or page.imagedepth != 1 or int(page.planarconfig) != 1:
        raise DataError(
            f"{file} has the colours {page.photometric.name} with {page.samplesperpixel} channels, for which there is "
            "no rule here: save it as RGB or grey, with the channels of a pixel side by side"
        )
    if "Orientation" in page.tags and page.tags["Orientation"].value != _UPRIGHT:
        raise DataError(f"{file} is turned by its orientation tag: save it upright, as a large picture is not turned")
    check_limit("bytes of a mapped .npy", page.imagewidth * page.imagelength * page.samplesperpixel, file)


def _unpacked(page: Any) -> NDArray[np.uint8]:
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    with tempfile.TemporaryFile(prefix="vae-edge-") as file:
        whole: NDArray[np.uint8] = np.memmap(file, np.uint8, "w+", shape=shape)
    page.asarray(out=whole.reshape(page.shape), maxworkers=1)
    return whole


def _packing(error: Exception) -> str:
    return str(error).partition(" requires")[0].strip("<>").partition(":")[0]
