"""Rows and latents of any height and width that a bundle of free size takes, checked before an engine sees them.

Imported only for such bundles. Scores, thresholds and maps keep the size of the calibration: a sum over more pixels
is another number, and the threshold was taken of the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..device.machine import available_memory
from ..errors import GraphRefused, InputError, OptionError
from ..format.sizes import Size, axis_names, dimensions_at, shape_at, size_of
from ..format.specs import InputSpec, LatentSpec, TensorSpec

if TYPE_CHECKING:
    from ..format.bundle import Bundle
    from ..format.manifest import Manifest

_TILES = "decode a large picture in tiles (decode(z, tile=512), vae-edge decode --tile 512), or take a smaller size"


def input_for(manifest: Manifest, x: Any) -> InputSpec:
    """What a row of ``x`` must be: ``manifest.input`` at the height and width of ``x``.

    Raises:
        InputError: the model does not take this height and width.
    """
    row = manifest.input
    return dataclasses.replace(row, shape=shape_for(manifest, TensorSpec("x", row.dtype, row.shape), x))


def shape_for(manifest: Manifest, tensor: TensorSpec, x: Any) -> tuple[int, ...]:
    """The shape of one row of ``tensor`` at the height and width of ``x``; the tensor's own where ``x`` has none.

    Raises:
        InputError: the model does not take this height and width.
    """
    names = axis_names(tensor.name, len(tensor.shape), manifest.input.layout)
    if not names or not isinstance(x, np.ndarray) or x.ndim != len(tensor.shape) + 1:
        return tensor.shape  # the check of the whole shape says what is wrong
    size = _size(manifest, tensor.name, [x.shape[1 + axis] for axis in names])
    shape = list(tensor.shape)
    for axis in names:
        shape[axis] = x.shape[1 + axis]
    refuse_size(manifest, size, f"{tensor.name} has shape {x.shape}, of rows of {shown(size)}")
    return tuple(shape)


def _size(manifest: Manifest, name: str, sides: list[int]) -> Size:
    """Height and width in pixels of a row whose tensor ``name`` has these sides."""
    if name in ("x", "x_hat"):
        return tuple(sides)
    row, latent = size_of(manifest.input), manifest.latent.shape[-2:]
    return tuple(side * pixels // across for side, pixels, across in zip(sides, row, latent, strict=True))


def refuse_size(manifest: Manifest, size: Size, what: str) -> None:
    """Refuse a height and width that the model does not take.

    Raises:
        InputError: the message begins with ``what``.
    """
    free = manifest.free_size
    if free is not None and (problem := free.problem(size)):
        raise InputError(f"{what}: of this model {problem}")


def refuse_to_score(manifest: Manifest, x: Any) -> None:
    """Refuse to score rows of another height and width than those of the calibration.

    Raises:
        InputError: they are of another size.
    """
    row = manifest.input
    if isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[1:] != row.shape:
        raise InputError(
            f"x has shape {x.shape}, and scores, thresholds and maps of this bundle are of rows of "
            f"{shown(size_of(row))} (height x width), which they were calibrated on: resize the rows, or export the "
            "model with --tile to score larger pictures. encode, decode, reconstruct and sample take other sizes"
        )


def shapes_and_bytes(
    bundle: Bundle, variant: str, graph: str, feeds: Mapping[str, NDArray[Any]], memory_bytes: int | None
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes of the outputs of a free graph for these feeds, and the bytes that one row needs inside it.

    Args:
        memory_bytes: that the engine may use; None: what this machine has available.

    Raises:
        InputError: a row of this size needs more than that, or more than any graph may.
    """
    manifest = bundle.manifest
    spec = manifest.variants[variant].graphs[graph]
    first = spec.inputs[0]
    axes = axis_names(first.name, len(first.shape), manifest.input.layout)
    size = _size(manifest, first.name, [feeds[first.name].shape[1 + axis] for axis in axes])
    try:
        needed = bundle.row_bytes_at(variant, graph, size)
    except GraphRefused as refused:
        raise InputError(f"rows of {shown(size)} are too large for the graph '{graph}' ({refused}): {_TILES}") from None
    limit = available_memory() if memory_bytes is None else memory_bytes
    if limit is not None and needed > limit:
        raise InputError(
            f"one row of {shown(size)} needs some {needed / 1e9:.1f} GB inside the graph '{graph}', and "
            f"{limit / 1e9:.1f} GB are there: {_TILES}"
        )
    dimensions = dimensions_at(size, manifest.input, manifest.latent.shape)
    return {t.name: shape_at(t, manifest.input.layout, dimensions) for t in spec.outputs}, needed


def latent_at(manifest: Manifest, size: Any) -> LatentSpec:
    """What ``sample`` draws for rows of ``size`` (height, width).

    Raises:
        OptionError: the size is none, the model does not take it, or its prior is of one size.
    """
    latent = manifest.latent
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(_is_side(side) for side in size):
        raise OptionError(f"size is {size!r:.60}; pass (height, width) in pixels")
    height, width = (int(side) for side in size)
    if (height, width) == size_of(manifest.input):
        return latent
    if manifest.free_size is None:
        raise OptionError(
            f"size is {height}x{width}, and this bundle has rows of {list(manifest.input.shape)} alone: export the "
            "model with --dynamic-size"
        )
    if problem := manifest.free_size.problem((height, width)):
        raise OptionError(f"size is {height}x{width}; of this model {problem}")
    if latent.prior.kind == "gaussian_mixture" or latent.prior.components > 1:
        raise OptionError(
            f"size is {height}x{width}, and the prior of this bundle ({latent.prior.source}) has numbers for each "
            f"place of latents of {list(latent.shape)} alone: decode(z) takes latents of your own of any size"
        )
    dimensions = dimensions_at((height, width), manifest.input, latent.shape)
    sides = dimensions["latent_height"], dimensions["latent_width"]
    return dataclasses.replace(latent, shape=(*latent.shape[:-2], *sides))


def _is_side(side: Any) -> bool:
    return isinstance(side, (int, np.integer)) and not isinstance(side, bool) and 0 < int(side) < 1 << 31


def shown(size: Size) -> str:
    """``96x64``: height x width."""
    return "x".join(map(str, size))
