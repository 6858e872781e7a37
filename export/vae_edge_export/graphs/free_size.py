"""Which heights and widths a model takes: found by running its halves on small pictures; a fixed layer is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError, OptionError
from vae_edge_runtime.format.sizes import Size, row_axes
from vae_edge_runtime.format.specs import Layout

from ..adapters import Recipe
from ..halves.adapt import adapt
from ..halves.door import foreign, in_words, place_of
from ..halves.vae import AdaptedVae
from ..tracing.torch_state import kept_rng, slow_attention

_STEPS = (1, 2, 4, 8)
"""Multiples of the ratio between a row and its latent that are tried: attention in windows needs more than it."""
_MOST_UNITS = 6
"""Of a multiple: a model that does not run on so many by so many is taken to need a size of its own."""
_SMALL_SIDE = 32
"""Of pieces that the halves of a model of free size are proven on."""
_FIXED = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.Flatten, nn.Unflatten)


@dataclass(frozen=True)
class SizePlan:
    """Heights and widths (pixels) of rows that a model takes.

    Attributes:
        base: that of the calibration rows. multiple, smallest: as in ``FreeSize``.
        others: sizes to compare with PyTorch beside ``base``: the smallest, one below ``base`` and one above it.
    """

    base: Size
    multiple: Size
    smallest: Size
    others: tuple[Size, ...]

    @property
    def traced(self) -> Size:
        """The size that graphs are traced at: small, and two sides that are neither equal nor the batch, nor 1."""
        least = max(4, *(side // each for side, each in zip(self.smallest, self.multiple, strict=True)))
        return (least + 1) * self.multiple[0], (least + 3) * self.multiple[1]

    def in_words(self) -> str:
        """What was found, for the report."""
        multiple = "x".join(map(str, dict.fromkeys(self.multiple)))
        listed = ", ".join("x".join(map(str, size)) for size in (*self.others, self.base))
        smallest = "x".join(map(str, self.smallest))
        return (
            f"encode and decode take any height and width: multiples of {multiple} from {smallest} (height x width), "
            f"compared with PyTorch at {listed}"
        )


def adapted_small(recipe: Recipe, x: Tensor, **options: Any) -> AdaptedVae | None:
    """The halves of a model of large pictures, proven on small pieces of them; None where that does not work.

    To prove two halves takes some 60 runs of a row. What is proven are the layers and their order, which are the same
    for every size that a model takes; outputs at the size of the rows are compared later, with those of all others.

    Args:
        x: (n, channels, height, width) in model units. options: of ``adapt``.
    """
    base = tuple(x.shape[-2:])
    factor = 1
    while all(side % (2 * factor) == 0 and side // (2 * factor) >= _SMALL_SIDE for side in base):
        factor *= 2
    if factor == 1 or recipe.missing is not None:
        return None
    piece = x[..., : base[0] // factor, : base[1] // factor].contiguous()
    try:
        vae = adapt(recipe, piece, **options)
    except AdaptError:
        return None  # on rows of its own size it may hold, and find_sizes names the layer that is fixed
    if vae.groups or len(vae.latent_shape) < 2:
        return None

    def enlarged(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-2], *(side * factor for side in shape[-2:])) if shape else shape

    where = f"the halves were proven on pieces of {_shown(tuple(piece.shape[-2:]))} pixels of the rows"
    return dataclasses.replace(
        vae,
        input_shape=tuple(x.shape[1:]),
        latent_shape=enlarged(vae.latent_shape),
        embedding_shape=enlarged(vae.embedding_shape),
        evidence=(*vae.evidence, where),
    )


def find_sizes(vae: AdaptedVae, x: Tensor, condition: Tensor | None, stated: int | None = None) -> SizePlan:
    """Run both halves on small rows, and say which sizes they take.

    Args:
        x: (n, channels, height, width) in model units; pieces of it are fed. condition: of its rows.
        stated: the multiple, where the user says one.

    Raises:
        AdaptError: the model has one size; the message names the layer.
        OptionError: the stated multiple does not fit.
    """
    base = tuple(x.shape[-2:])
    if vae.groups:
        raise AdaptError(
            "a hierarchical model packs its latents into one vector, which has no height and width to free"
        )
    with torch.no_grad(), kept_rng(), slow_attention():
        if len(vae.latent_shape) < 2:
            raise _refused(vae, x, condition)
        latent = vae.latent_shape[-2:]
        if any(side % across for side, across in zip(base, latent, strict=True)):
            raise AdaptError(
                f"height and width cannot be free: rows of {base} have latents of {latent}, which is no whole ratio"
            )
        ratio = [side // across for side, across in zip(base, latent, strict=True)]
        steps = _STEPS if stated is None else _stated_steps(stated, ratio)
        problem: AdaptError | None = None
        for step in steps:
            multiple = tuple(step * each for each in ratio)
            if any(side % each for side, each in zip(base, multiple, strict=True)):
                continue
            units = tuple(side // each for side, each in zip(base, multiple, strict=True))
            for k in range(1, min(_MOST_UNITS, *units) + 1):
                try:
                    for pair in ((k, k), (k, k + 1), (k + 1, k)):
                        _run_at(vae, x, condition, tuple(n * m for n, m in zip(pair, multiple, strict=True)))
                except AdaptError as error:
                    problem = error
                    continue
                return _plan(base, multiple, tuple(k * each for each in multiple))
    raise problem or AdaptError(f"height and width cannot be free: rows of {base} are a single step of the model")


def _stated_steps(stated: int, ratio: list[int]) -> tuple[int, ...]:
    if any(stated % each for each in ratio):
        raise OptionError(
            f"size_multiple is {stated}; a latent of this model is of {ratio[0]}x{ratio[1]} pixels: give a multiple "
            f"of {max(ratio)}"
        )
    return (stated // max(ratio),)


def _plan(base: Size, multiple: Size, smallest: Size) -> SizePlan:
    units = [side // each for side, each in zip(base, multiple, strict=True)]
    least = [side // each for side, each in zip(smallest, multiple, strict=True)]
    below = (max(least[0], -(-units[0] // 2)), max(least[1], -(-3 * units[1] // 4)))
    above = (units[0] + 1, units[1] + 2)
    wanted = [tuple(least), below if below[0] != below[1] else (below[0], below[1] + 1), above]
    sizes = dict.fromkeys(tuple(n * m for n, m in zip(size, multiple, strict=True)) for size in wanted)
    return SizePlan(base, multiple, smallest, tuple(size for size in sizes if size != base))


def _run_at(vae: AdaptedVae, x: Tensor, condition: Tensor | None, size: Size) -> None:
    """Run both halves on a row of ``size``.

    Raises:
        AdaptError: one fails, or gives another shape than ``size`` asks for.
    """
    row = x[:1, :, _mirrored(x.shape[2], size[0]), :][..., _mirrored(x.shape[3], size[1])]
    beside = () if condition is None else (condition[:1],)
    latent = [side * across // whole for side, across, whole in
              zip(size, vae.latent_shape[-2:], x.shape[-2:], strict=True)]  # fmt: skip
    with _named_layer(vae.module, size) as layers:
        z = vae.encode(vae.module, row, *beside)[0]
        if list(z.shape[-2:]) != latent:
            raise AdaptError(_fixed(vae, size, f"its latents are {tuple(z.shape[1:])}, which do not follow it"))
        layers.clear()
        x_hat = vae.decode(vae.module, z, *beside)[0]
        if tuple(x_hat.shape[-2:]) != tuple(size):
            raise AdaptError(_fixed(vae, size, f"decode gives rows of {tuple(x_hat.shape[1:])}"))


def _refused(vae: AdaptedVae, x: Tensor, condition: Tensor | None) -> AdaptError:
    """Why a model whose latent is a vector has one size."""
    size = tuple(side // 2 if side > 1 and side % 2 == 0 else 2 * side for side in x.shape[-2:])
    row = x[:1, :, _mirrored(x.shape[2], size[0]), :][..., _mirrored(x.shape[3], size[1])]
    beside = () if condition is None else (condition[:1],)
    try:
        with _named_layer(vae.module, size):
            vae.encode(vae.module, row, *beside)
    except AdaptError as error:
        return error
    return AdaptError(_fixed(vae, size, f"its latents are vectors of {vae.latent_shape[0]} all the same"))


def _fixed(vae: AdaptedVae, size: Size, what: str) -> str:
    names = [
        f"'{name}' ({type(part).__name__})" for name, part in vae.module.named_modules() if isinstance(part, _FIXED)
    ]
    layers = f"; layers that fix a size: {', '.join(names[:4])}" if names else ""
    return f"height and width cannot be free: for a row of {_shown(size)} {what}{layers}. Export without --dynamic-size"


@contextmanager
def _named_layer(module: nn.Module, size: Size) -> Iterator[list[str]]:
    """Turn an error of the model into one that names the layer at work."""
    at_work: list[str] = []
    handles = []
    for name, part in module.named_modules():
        if name:
            handles.append(part.register_forward_pre_hook(lambda part, _, name=name: at_work.append(name)))
            handles.append(part.register_forward_hook(lambda part, *_, name=name: _done(at_work, name)))
    try:
        yield at_work
    except AdaptError as error:
        if error.__cause__ is None:
            raise
        cause = foreign(error)
        layer = f"the layer '{at_work[-1]}' ({_described(module, at_work[-1])})" if at_work else f"it{place_of(cause)}"
        raise AdaptError(
            f"height and width cannot be free: for a row of {_shown(size)} {layer} fails "
            f"({in_words(cause).splitlines()[0][:160]}). A layer that takes a picture as one flat row has one size: "
            "export without --dynamic-size, or put a convolution in its place"
        ) from cause
    finally:
        for handle in handles:
            handle.remove()


def _done(at_work: list[str], name: str) -> None:
    if at_work and at_work[-1] == name:
        at_work.pop()


def _described(module: nn.Module, name: str) -> str:
    part: Any = module.get_submodule(name)
    takes = next((f", takes {getattr(part, key)}" for key in ("in_features", "in_channels") if hasattr(part, key)), "")
    return f"{type(part).__name__}{takes}"


def _shown(size: Size) -> str:
    return "x".join(map(str, size))


def _mirrored(length: int, wanted: int) -> Tensor:
    return torch.from_numpy(mirrored(length, wanted))


def mirrored(length: int, wanted: int) -> NDArray[np.int64]:
    """Positions of ``wanted`` pixels along an axis of ``length``: the first ones, then mirrored at the edge.

    Example:
        >>> mirrored(3, 7).tolist()
        [0, 1, 2, 2, 1, 0, 0]
    """
    there_and_back = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    return there_and_back[np.arange(wanted) % (2 * length)].astype(np.int64)


def rows_at(x: NDArray[Any], layout: Layout, size: Size) -> NDArray[Any]:
    """Pictures (n, ...) of another height and width: the corner of each, mirrored at its edges where it is larger."""
    down, across = (1 + axis for axis in row_axes(layout))
    tall = np.take(x, mirrored(x.shape[down], size[0]), axis=down)
    return np.ascontiguousarray(np.take(tall, mirrored(x.shape[across], size[1]), axis=across))
