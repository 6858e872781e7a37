"""What people would use instead, on the same numbers: bytes a row, of all rows at once and of each row alone.

Peers get the rows already rounded to the bound's grid, as whole numbers in the best of several layouts; SZ3 and zfp
get floats and the bound. A dictionary of zstd is trained on the training rows, as the tables here are.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

MOST_ROWS = 200
"""Of those measured row by row."""
Sizes = dict[str, tuple[float | None, float | None]]
"""By peer: bytes a row of all rows at once, and of each row alone."""


def numeric(train: np.ndarray, test: np.ndarray, step: np.ndarray, *, exact: bool) -> tuple[Sizes, list[str]]:
    """Sizes of every peer that is installed, and the names of those that are not."""
    whole = [np.rint(part.astype(float) / step) for part in (train[:4000], test)]
    kind = np.int16 if max(np.abs(part).max() for part in whole) < 32000 else np.int32
    known, rows = (part.astype(kind) for part in whole)
    n, some = len(rows), rows[:MOST_ROWS]
    sizes: Sizes = {}
    missing = []

    def smallest(compress: Callable[[bytes], int], block: np.ndarray) -> int:
        return min(compress(form) for form in forms(block))

    def smallest_lzma(data: bytes) -> int:
        # A dictionary beyond the data gives the same bytes, and takes 50 ms to set up.
        size = min(max(len(data), 4096), 1 << 26)
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "pb": 0, "dict_size": size}]
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))

    plain: dict[str, Callable[[bytes], int]] = {"zlib": lambda data: len(zlib.compress(data, 9)), "lzma": smallest_lzma}
    try:
        import zstandard

        zstd = zstandard.ZstdCompressor(level=19, write_content_size=False)
        plain["zstd"] = lambda data: len(zstd.compress(data))
        sizes["zstd with a dictionary"] = (None, _with_dictionary(zstandard, known, some))
    except ImportError:
        missing.append("zstandard")
    for name, compress in plain.items():
        alone = np.mean([smallest(compress, some[i : i + 1]) for i in range(len(some))])
        sizes[name] = (smallest(compress, rows) / n, float(alone))
    try:
        from pcodec import ChunkConfig, standalone

        def packed(values: np.ndarray) -> int:
            return len(
                standalone.simple_compress(np.ascontiguousarray(values).ravel(), ChunkConfig(compression_level=12))
            )

        alone = np.mean([min(packed(np.moveaxis(row, -1, 0)), packed(row)) for row in some])
        sizes["pcodec"] = (sum(packed(rows[..., c]) for c in range(rows.shape[-1])) / n, float(alone))
    except ImportError:
        missing.append("pcodec")
    if not exact:
        for name, compress_floats in _bounded(missing):
            scaled = (test / step).astype(np.float32)
            block = sum(compress_floats(scaled[..., c].ravel()) for c in range(scaled.shape[-1])) / n
            alone = np.mean([min(compress_floats(row), compress_floats(row.T)) for row in scaled[:MOST_ROWS]])
            sizes[name] = (block, float(alone))
    return sizes, missing


def forms(block: np.ndarray) -> list[bytes]:
    """Bytes of rows in several layouts: as they are, feature by feature, differences, bytes of one significance."""
    major = np.ascontiguousarray(np.moveaxis(block, -1, 0)).reshape(block.shape[-1], -1)
    deltas = np.diff(major, axis=1, prepend=major[:, :1] * 0).astype(block.dtype)
    shuffled = np.ascontiguousarray(deltas).view(np.uint8).reshape(-1, block.dtype.itemsize).T
    return [block.tobytes(), major.tobytes(), deltas.tobytes(), shuffled.tobytes()]


def _with_dictionary(zstandard: Any, known: np.ndarray, rows: np.ndarray) -> float:
    """Without the four bytes of its magic number, which both sides know."""
    best = np.inf
    for form in range(4):
        samples = [forms(known[i : i + 1])[form] for i in range(len(known))]
        for size in (4096, 32768):
            try:
                trained = zstandard.train_dictionary(size, samples)
            except zstandard.ZstdError:
                continue
            tool = zstandard.ZstdCompressor(level=19, dict_data=trained, write_content_size=False, write_dict_id=False)
            best = min(best, np.mean([len(tool.compress(forms(rows[i : i + 1])[form])) - 4 for i in range(len(rows))]))
    return float(best)


def _bounded(missing: list[str]) -> Iterator[tuple[str, Callable[[np.ndarray], int]]]:
    """Codecs of floats within an absolute error of one half."""
    try:
        import pysz

        def sz3(values: np.ndarray) -> int:
            config = pysz.szConfig()
            config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, 0.5
            return len(pysz.sz.compress(np.ascontiguousarray(values), config)[0])

        yield "SZ3", sz3
    except ImportError:
        missing.append("pysz (SZ3)")
    try:
        import zfpy

        yield "zfp", lambda values: len(zfpy.compress_numpy(np.ascontiguousarray(values), tolerance=0.5))
    except ImportError:
        missing.append("zfpy")


def pictures(rows: np.ndarray) -> tuple[Sizes, list[str]]:
    """Lossless sizes, then the smallest file of each lossy codec, of grey pictures (n, height, width, 1)."""
    try:
        import imagecodecs as codecs
    except ImportError:
        return {}, ["imagecodecs (PNG, WebP, AVIF, JPEG XL)"]
    n, some = len(rows), rows[:MOST_ROWS, ..., 0]
    side = int(np.ceil(np.sqrt(n)))
    padded = np.zeros((side * side, *rows.shape[1:3]), np.uint8)
    padded[:n] = rows[..., 0]
    mosaic = padded.reshape(side, side, *rows.shape[1:3]).transpose(0, 2, 1, 3).reshape(side * rows.shape[1], -1)

    def colour(picture: np.ndarray) -> np.ndarray:
        return np.repeat(picture[..., None], 3, -1)

    def decibels(picture: np.ndarray, decoded: np.ndarray) -> str:
        grey = decoded.reshape(*picture.shape, -1).mean(-1)
        square = np.mean(np.square(grey - picture))
        return f"{10 * np.log10(255**2 / square):.1f} dB" if square else "exact"

    tools: dict[str, tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]] = {
        "PNG": (lambda v: codecs.png_encode(v, level=9), codecs.png_decode),
        "WebP": (lambda v: codecs.webp_encode(colour(v), lossless=True, level=100), codecs.webp_decode),
        "JPEG XL": (lambda v: codecs.jpegxl_encode(v, lossless=True, effort=9), codecs.jpegxl_decode),
        "WebP, lowest quality": (lambda v: codecs.webp_encode(colour(v), level=0, lossless=False), codecs.webp_decode),
        "AVIF, lowest quality": (lambda v: codecs.avif_encode(colour(v), level=0), codecs.avif_decode),
        "JPEG XL, lowest quality": (lambda v: codecs.jpegxl_encode(v, level=5, effort=9), codecs.jpegxl_decode),
    }
    sizes: Sizes = {}
    missing = []
    for name, (compress, decompress) in tools.items():
        try:
            alone = float(np.mean([len(compress(np.ascontiguousarray(picture))) for picture in some]))
            whole = compress(mosaic)
            sizes[f"{name} ({decibels(mosaic, decompress(whole))})"] = (len(whole) / n, alone)
        except Exception as error:
            missing.append(f"{name} ({type(error).__name__})")
    return sizes, missing
