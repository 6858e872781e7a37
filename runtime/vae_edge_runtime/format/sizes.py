"""Shapes of rows and latents at another height and width, where ``Manifest.free_size`` allows one.

Imported only for such bundles. The last two axes of a latent follow height and width of a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .specs import InputSpec, Layout, Signature, TensorSpec

if TYPE_CHECKING:
    from .manifest import Manifest

FREE_GRAPHS = ("encode", "decode")
_ROWS, _LATENTS = ("x", "x_hat"), ("mean", "logvar", "z", "indices", "z_q")
Size = tuple[int, ...]
"""Height and width in pixels of a row."""


def row_axes(layout: Layout) -> tuple[int, int]:
    """Axes of height and width of one picture."""
    return (1, 2) if layout == "nchw" else (0, 1)


def axis_names(name: str, rank: int, layout: Layout) -> dict[int, str]:
    """Axes of one row of a tensor of ``encode`` or ``decode`` that are free, and the name of each in a graph.

    Example:
        >>> axis_names("z", 3, "nhwc")
        {1: 'latent_height', 2: 'latent_width'}
    """
    if name in _ROWS:
        return dict(zip(row_axes(layout), ("height", "width"), strict=True))
    return {rank - 2: "latent_height", rank - 1: "latent_width"} if name in _LATENTS else {}


def size_of(row: InputSpec) -> Size:
    """Height and width that a bundle is calibrated at."""
    return tuple(row.shape[axis] for axis in row_axes(row.layout))


def dimensions_at(size: Size, row: InputSpec, latent_shape: tuple[int, ...]) -> dict[str, int]:
    """The named dimensions of the graphs for rows of ``size``."""
    (height, width), (tall, wide) = size_of(row), latent_shape[-2:]
    return {
        "height": size[0],
        "width": size[1],
        "latent_height": size[0] * tall // height,
        "latent_width": size[1] * wide // width,
    }


def shape_at(tensor: TensorSpec, layout: Layout, dimensions: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of one row of a tensor at these dimensions."""
    names = axis_names(tensor.name, len(tensor.shape), layout)
    return tuple(dimensions[names[axis]] if axis in names else n for axis, n in enumerate(tensor.shape))


def signature_at(signature: Signature, row: InputSpec, latent_shape: tuple[int, ...], size: Size) -> Signature:
    """Inputs and outputs of a free graph for rows of ``size``."""
    dimensions = dimensions_at(size, row, latent_shape)

    def at(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(dataclasses.replace(t, shape=shape_at(t, row.layout, dimensions)) for t in tensors)

    return Signature(at(signature.inputs), at(signature.outputs))


def sizes_of(manifest: Manifest) -> list[Size]:
    """The size of calibration, then every other one that was compared with PyTorch."""
    free = manifest.free_size
    return [size_of(manifest.input), *([(each.height, each.width) for each in free.checks] if free else [])]


def wrong_shapes(manifest: Manifest) -> str | None:
    """What in a manifest keeps height and width from being free; None where nothing does."""
    free, row, latent = manifest.free_size, manifest.input, manifest.latent
    if free is None:
        return None
    if row.layout not in ("nchw", "nhwc") or row.overlap is not None or latent.groups or len(latent.shape) < 2:
        return "free_size is of pictures, and of latents with a height and a width"
    for side, across, multiple in zip(size_of(row), latent.shape[-2:], free.multiple, strict=True):
        if side % across or multiple % (side // across):
            return f"a latent of {latent.shape} does not follow rows of {row.shape} in steps of {multiple}"
    if latent.embedding_shape and latent.embedding_shape[-2:] != latent.shape[-2:]:
        return f"z_q of {latent.embedding_shape} and indices of {latent.shape} differ in height or width"
    return free.problem(size_of(row))
