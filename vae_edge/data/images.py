"""Pictures in folders, as uint8 NHWC; the rules for their modes are a table in ``docs/data.md``."""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError
from vae_edge_runtime.storage.scratch import scratch_array
from vae_edge_runtime.text import counted

from .dataset import Dataset
from .files import advice, check_regular, first_bytes, refuse_other_kind
from .fitting import changes_shape, placed
from .folders import SUFFIXES, Listing, list_pictures, matching, of_folders
from .large_tiff import HINT, mapped_tiff
from .large_tiff import SUFFIXES as TIFF_SUFFIXES
from .large_tiff import installed as tiff_installed
from .limits import LIMITS, check_limit
from .png import is_complete
from .report import ReadReport, printable

FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP", "PPM")
"""What Pillow may open. Without this list it starts Ghostscript for a PostScript file that is called g.png."""
_GREY = frozenset(("1", "L"))
_ALPHA = {"LA": "L", "PA": "RGB", "RGBA": "RGB", "La": "L", "RGBa": "RGB"}
"""Modes with transparency, and the mode that is left where every pixel is opaque."""
_COLOUR = frozenset(("RGB", "P", "YCbCr"))
_MOST_FRAMES_FORMATS = ("MPO",)
"""An MPO is a JPEG with smaller previews behind it; the first picture is the photograph."""
_ORIENTATION = 0x0112


def read_images(path: Path, shape: tuple[int, int] | None, fit: str = "stretch") -> Dataset:
    """All pictures below a folder, sorted by name, or one picture: x (n, height, width, 1 or 3) uint8.

    Grey files stay grey where all are; one colour file makes all colour. Nothing is resized
    unless ``shape`` (height, width) says so, then by the rule ``fit`` (``fitting.placed``). A path that does not
    exist may be a pattern, such as ``today/*.png``.

    Raises:
        DataError: no picture, a damaged one, one whose mode has no rule, or pictures of different sizes.
        MissingDependency: Pillow is not installed.
    """
    require("PIL", extra="images", why="reading images")
    left_out: tuple[tuple[str, str], ...] = ()
    if path.is_dir():
        listing = list_pictures(path)
        files, left_out = list(listing.pictures), listing.left_out()
        ids = tuple(_name(file.relative_to(path)) for file in files)
        if not files:
            raise DataError(_no_image(path, listing))
    elif path.exists():
        files, ids = [path], (_name(Path(path.name)),)
        whole = mapped_tiff(path) if shape is None else None
        if whole is not None:
            return _mapped(path, ids, whole)
    else:
        files = matching(path)
        ids = tuple(_name(file) for file in files)
    if shape is None and len(files) > 1:
        _check_sizes(files)
    x: NDArray[Any] = np.empty((0,), np.uint8)
    turned = stretched = grey = 0
    for i, file in enumerate(files):
        pixels, was_turned, was_stretched = _open(file, shape, fit)
        turned, stretched = turned + was_turned, stretched + was_stretched
        grey += pixels.shape[2] == 1
        if i == 0:
            check_limit("bytes of numbers in memory", len(files) * pixels.size, path)
            x = scratch_array((len(files), *pixels.shape), np.uint8)
        elif pixels.shape[2] > x.shape[3]:
            check_limit("bytes of numbers in memory", 3 * x.size, path)
            in_grey, x = x, scratch_array((*x.shape[:3], 3), np.uint8)
            for row, colour in zip(in_grey[:i], x[:i], strict=True):
                colour[:] = row  # one value for all three channels
        x[i] = pixels
    height, width, channels = x.shape[1:]
    notes = [f"{width}x{height} pixels (width x height), {'grey' if channels == 1 else 'colour'}"]
    if shape is not None:
        notes.append(f"brought to this size by the rule {fit}, bilinear")
    if stretched:
        notes.append(
            f"warning: {counted(stretched, 'picture has', 'pictures have')} another aspect ratio and "
            f"{'was' if stretched == 1 else 'were'} stretched; --fit pad or --fit crop keeps it"
        )
    if grey and channels == 3:
        notes.append(f"{counted(grey, 'grey picture')} among them became colour")
    if folders := of_folders(ids if path.is_dir() else ()):
        notes.append(folders)
    if turned:
        notes.append(f"{counted(turned, 'picture was', 'pictures were')} turned upright as their EXIF orientation says")
    report = ReadReport(printable(path), "pictures", len(x), rows_left_out=left_out, notes=tuple(notes))
    return Dataset(x, "nhwc", (), ids, report=report)


def _no_image(folder: Path, listing: Listing) -> str:
    """In words, what lies in a folder without a picture, and what to do with it."""
    said = [f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})"]
    said += [f"{what}: {why}" for what, why in listing.left_out()]
    said += dict.fromkeys(filter(None, map(advice, sorted(listing.others))))
    if not listing.others.keys().isdisjoint((".csv", ".tsv", ".jsonl", ".parquet")):
        said.append("name one table, or join them into one: a folder of tables is read by vae-edge score alone")
    return "; ".join(said)


def read_image(file: Path, shape: tuple[int, int] | None, fit: str = "stretch") -> NDArray[np.uint8]:
    """One image, (height, width, 1 or 3) uint8, resized where ``shape`` (height, width) says so.

    Raises:
        DataError: it is damaged, too large, or its mode has no rule.
    """
    whole = mapped_tiff(file) if shape is None else None
    return _open(file, shape, fit)[0] if whole is None else whole


def _mapped(path: Path, ids: tuple[str, ...], whole: NDArray[np.uint8]) -> Dataset:
    height, width, channels = whole.shape
    notes = (
        f"{width}x{height} pixels (width x height), {'grey' if channels == 1 else 'colour'}",
        f"unpacked by its tiles into a temporary file of {whole.nbytes:,} bytes, which is mapped",
    )
    return Dataset(whole[None], "nhwc", (), ids, report=ReadReport(printable(path), "pictures", 1, notes=notes))


def _open(file: Path, shape: tuple[int, int] | None, fit: str) -> tuple[NDArray[np.uint8], bool, bool]:
    """The pixels, whether they were turned upright, and whether their aspect ratio was changed."""
    from PIL import Image, ImageOps

    with _doubts_are_errors(), _opened(file) as image:
        try:
            _check_mode(file, image)
            image.load()
            if image.format == "PNG" and not is_complete(file):
                raise DataError(f"{file} is not a readable image: it ends before its last pixel")
            turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
            upright = ImageOps.exif_transpose(image) if turned else image
            mode = upright.mode
            if mode in _ALPHA or "transparency" in upright.info:
                upright = _without_alpha(file, upright)
                mode = upright.mode
            picture = upright.convert("L" if mode in _GREY else "RGB")
        except DataError:
            raise
        except _damages() as error:
            raise DataError(f"{file} is not a readable image: {error}") from error
        stretched = False
        if shape is not None:
            size = picture.size[::-1]
            stretched = fit == "stretch" and changes_shape(size, shape)
            (top, left, bottom, right), (down, across, height, width) = placed(size, shape, fit)
            resized = picture.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
            picture = resized if (height, width) == shape else Image.new(picture.mode, shape[::-1])
            if picture is not resized:
                picture.paste(resized, (across, down))
        pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[:, :, None], turned, stretched


def _opened(file: Path) -> Any:
    """A Pillow image of a format in ``FORMATS``, of which only the header was read.

    Raises:
        DataError: it is another kind of file, damaged, or has too many pixels.
    """
    from PIL import Image

    known = [name for name in FORMATS if name in _registered()]
    check_regular(file)
    try:
        image = Image.open(file, formats=known)
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{file} has more than {LIMITS['pixels of a picture'].most:,} pixels, which are not read: {error}"
            f"{_tiff_hint(file)}"
        ) from error
    except _damages() as error:
        if not first_bytes(file, 1):
            raise DataError(f"{file} is not a readable image: it is empty") from error
        refuse_other_kind(file, _without_pictures(first_bytes(file, 64)), "readable image")
        raise DataError(f"{file} is not a readable image: {error}") from error
    try:
        check_limit("pixels of a picture", image.size[0] * image.size[1], file)
    except DataError as error:
        image.close()
        raise DataError(f"{error}{_tiff_hint(file)}") from error
    return image


def _tiff_hint(file: Path) -> str:
    return f"; {HINT}" if file.suffix.lower() in TIFF_SUFFIXES and not tiff_installed() else ""


@functools.cache
def _registered() -> frozenset[str]:
    """The formats of ours that this Pillow can open; WebP is an option of its build."""
    from PIL import Image

    for name in ("Bmp", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP"):
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return frozenset(Image.OPEN)


def _without_pictures(head: bytes) -> bytes:
    return b"" if head.startswith((b"\x89PNG", b"\xff\xd8\xff")) else head


def _damages() -> tuple[type[Exception], ...]:
    """What Pillow lets through for damaged files."""
    import struct
    import zlib

    from PIL import Image, UnidentifiedImageError

    of_python = (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, OverflowError, MemoryError)
    of_pillow = (UnidentifiedImageError, Image.DecompressionBombError, UserWarning)
    return (*of_python, AttributeError, struct.error, zlib.error, *of_pillow)


@contextlib.contextmanager
def _doubts_are_errors() -> Iterator[None]:
    """Pillow warns where it passes over damaged tags, and then guesses sizes, colours or which side is up."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Palette images with Transparency")  # ours are opaque: that was looked at
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower, and an error
        yield


def _check_mode(file: Path, image: Any) -> None:
    """Refuse what 8 bits of grey or colour cannot hold; Pillow cuts 16-bit colour to 8 bits without a word."""
    raw = " ".join(str(part) for tile in image.tile for part in tile[3:])
    if image.mode[:1] in ("I", "F") or ";16" in raw or _bits(image) > 8:
        raise DataError(
            f"{file} has more than 8 bits per pixel and channel (mode {image.mode}), which would be cut to 255: "
            "save such images as one .npy array of float32"
        )
    if image.mode not in _GREY | _COLOUR | set(_ALPHA):
        raise DataError(f"{file} has the colours {image.mode}, for which there is no rule here: save it as RGB or grey")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _MOST_FRAMES_FORMATS:
        raise DataError(f"{file} holds {counted(frames, 'picture')}: save each as a file of its own{_tiff_hint(file)}")


def _bits(image: Any) -> int:
    """Bits per channel where the decoder does not say so: of a TIFF, or a PPM by its largest value."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))
        return int(max(bits) if isinstance(bits, tuple) else bits)
    arguments = image.tile[0][3] if image.format == "PPM" and image.tile else ()
    return int(arguments[1]).bit_length() if isinstance(arguments, tuple) and len(arguments) > 1 else 8


def _without_alpha(file: Path, image: Any) -> Any:
    mode = _ALPHA.get(image.mode, "L" if image.mode in _GREY else "RGB")
    alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    if (alpha < 255).any():
        raise DataError(
            f"{file} has transparent pixels, whose colour depends on the background: paint it onto one first"
        )
    return image.convert("RGB" if image.mode == "P" else mode)


def _check_sizes(files: Sequence[Path]) -> None:
    """Compare the sizes in the headers, so that a folder is refused before its pixels are read.

    Raises:
        DataError: there are several; the message names the commonest.
    """
    sizes = []
    for file in files:
        with _doubts_are_errors(), _opened(file) as image:
            try:
                turned = image.getexif().get(_ORIENTATION, 1) in range(5, 9)
            except _damages() as error:
                raise DataError(f"{file} is not a readable image: {error}") from error
            sizes.append(image.size[::-1] if turned else image.size)
    counts = Counter(sizes)
    if len(counts) == 1:
        return
    (width, height), most = counts.most_common(1)[0]
    other = next(i for i, size in enumerate(sizes) if size != (width, height))
    same = files[sizes.index((width, height))]
    raise DataError(
        f"{len(files)} pictures have {counted(len(counts), 'size')}. {most} of them, such as "
        f"{same}, are {width}x{height} "
        f"(width x height); {files[other]} is {sizes[other][0]}x{sizes[other][1]}. Resize all with --image-size "
        f"{height}x{width} (height x width), or cut them to one size"
    )


def _name(path: Path) -> str:
    return printable(path.as_posix())
