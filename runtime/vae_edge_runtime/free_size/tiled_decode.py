"""Decode latents of a large picture tile by tile, blended as diffusers blends its own tiles.

The rule is that of ``AutoencoderKL.tiled_decode``, so that a picture from a device is the one from a workstation: tiles
begin every 3/4 of a tile, and a strip of 1/4 fades linearly from the tile above and from the tile on the left. The
rule of ``scoring.tiling`` is another one, since a sum over a map has to be the sum of the picture: it moves the last
tile back to the edge and weighs all tiles alike.

Imported only where tiles are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OptionError
from ..format.sizes import row_axes, size_of

if TYPE_CHECKING:
    from ..format.manifest import Manifest

Array = NDArray[Any]
OVERLAP = 0.25
"""Of a tile; ``tile_overlap_factor`` of diffusers."""


def decode_tiled(manifest: Manifest, decode: Callable[[Array], Array], z: Array, tile: Any) -> Array:
    """Rows for latents (n, *latent_shape) of any height and width, in data units.

    Memory beside the rows themselves is that of one tile and of a strip as wide as the picture.

    Args:
        decode: latents of one tile, of all n rows, to rows.
        tile: side of a tile in pixels of a row.

    Raises:
        OptionError: the bundle has no free size, or the tile is no valid one.
        InputError: what is left at an edge is smaller than the model takes.
    """
    tall, wide = _latent_tile(manifest, tile)
    height, width = z.shape[-2:]
    if height <= tall and width <= wide:
        return decode(z)
    ratio = [side // across for side, across in zip(size_of(manifest.input), manifest.latent.shape[-2:], strict=True)]
    rows, columns = _starts(manifest, height, tall, 0), _starts(manifest, width, wide, 1)
    strip = [int(side * OVERLAP) * each for side, each in zip((tall, wide), ratio, strict=True)]
    step = [side * each - strip[axis] for axis, (side, each) in enumerate(zip((tall, wide), ratio, strict=True))]
    down, _ = row_axes(manifest.input.layout)
    first = down == 1  # channels first
    whole: Array | None = None
    above: list[Array] = []
    for r, top in enumerate(rows):
        left: Array | None = None
        below = []
        for c, begin in enumerate(columns):
            made = decode(np.ascontiguousarray(z[..., top : top + tall, begin : begin + wide]))
            if whole is None:
                size = [height * ratio[0], width * ratio[1]]
                shape = (len(z), made.shape[1], *size) if first else (len(z), *size, made.shape[3])
                whole = np.empty(shape, made.dtype)
            part = np.array(np.moveaxis(made, 1, 3) if first else made, np.float32)  # a copy: it is blended in place
            if r:
                _fade(above[c], part, strip[0], axis=1)
            if left is not None:
                _fade(left, part, strip[1], axis=2)
            below.append(part[:, -strip[0] :].copy())
            left = part[:, :, -strip[1] :].copy()
            kept = part[:, : step[0], : step[1]]
            place = np.moveaxis(whole, 1, 3) if first else whole
            kept = np.clip(np.round(kept), 0, 255) if whole.dtype == np.uint8 else kept
            place[:, r * step[0] : r * step[0] + kept.shape[1], c * step[1] : c * step[1] + kept.shape[2]] = kept
        above = below
    assert whole is not None  # there is a first tile
    return whole


def _fade(before: Array, tile: Array, strip: int, *, axis: int) -> None:
    """Fade from the end of the tile before into the beginning of this one, in place."""
    length = min(before.shape[axis], tile.shape[axis], strip)
    shape = [1, 1, 1, 1]
    shape[axis] = length
    share = (np.arange(length, dtype=np.float32) / np.float32(length)).reshape(shape)
    start, end = [slice(None)] * 4, [slice(None)] * 4
    start[axis], end[axis] = slice(0, length), slice(before.shape[axis] - length, None)
    tile[tuple(start)] = before[tuple(end)] * (1 - share) + tile[tuple(start)] * share


def _latent_tile(manifest: Manifest, tile: Any) -> tuple[int, int]:
    """Height and width of a tile in latents."""
    free, row, latent = manifest.free_size, manifest.input, manifest.latent
    if free is None:
        raise OptionError(
            "this bundle decodes rows of one size, and tiles need others: export the model with --dynamic-size"
        )
    if not isinstance(tile, (int, np.integer)) or isinstance(tile, bool) or tile < 1:
        raise OptionError(f"tile is {tile!r:.60}; pass the side of a tile in pixels, such as 512")
    sides = []
    for pixels, across, multiple in zip(size_of(row), latent.shape[-2:], free.multiple, strict=True):
        ratio = pixels // across
        # The quarter that overlaps, and so the step, is a whole number of what the model takes.
        whole = int(multiple / OVERLAP)
        if tile % whole:
            raise OptionError(f"tile is {tile}; for this model it is a multiple of {whole} pixels, such as {8 * whole}")
        sides.append(int(tile) // ratio)
    if problem := free.problem((int(tile), int(tile))):
        raise OptionError(f"tile is {tile}; of this model {problem}")
    return sides[0], sides[1]


def _starts(manifest: Manifest, length: int, tile: int, axis: int) -> list[int]:
    """Where tiles begin along an axis of so many latents."""
    free = manifest.free_size
    assert free is not None  # _latent_tile refused it
    ratio = size_of(manifest.input)[axis] // manifest.latent.shape[-2:][axis]
    starts = list(range(0, length, tile - int(tile * OVERLAP)))
    if (left := (length - starts[-1]) * ratio) < free.smallest[axis]:
        raise InputError(
            f"tiles of {tile * ratio} pixels leave {left} pixels at an edge of {length * ratio}, and the model takes "
            f"{free.smallest[axis]} at least: take another tile"
        )
    return starts
