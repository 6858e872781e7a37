"""The ways in which people prepare rows before training: tried where a model does not take rows as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_edge_runtime.format.specs import Layout

Array = NDArray[Any]

_COLUMNS_SPELT_OUT = 12
_CHANNELS = (1, 3, 4)
_SMALLEST_SIDE = 8
"""Of what is taken for a picture: three sensors over eight steps are as small as that."""


def channels_first(x: Tensor, layout: Layout) -> Tensor:
    """Rows of a raw layout in the layout of models, and in its order in memory: a model may call ``view`` on them."""
    return x.permute(0, 3, 1, 2).contiguous() if layout == "nhwc" else x


@dataclass(frozen=True, eq=False)
class Preparation:
    """x_model = (x - offset) / scale.

    Attributes:
        option: of the command line that says so, or words where its values would fill the screen.
        offset, scale: (1,), or one value per channel or feature.
    """

    option: str
    offset: Array
    scale: Array

    def prepared(self, x: Tensor, layout: Layout) -> Tensor:
        """Raw rows (n, *row_shape) in model units and model layout, float32."""
        shape = (-1, 1, 1) if layout in ("nchw", "nhwc") else (-1,)
        offset, scale = (torch.tensor(v, dtype=torch.float32).reshape(shape) for v in (self.offset, self.scale))
        return channels_first(x.to(torch.float32), layout).sub(offset).div(scale)


def usual_preparations(x: Array, layout: Layout) -> Iterator[Preparation]:
    """The usual ones for raw rows (n, *row_shape), the likeliest first."""
    x = x.astype(np.float64)
    zero = np.zeros(1)
    if x.min() >= 0 and x.max() > 1:
        for top in (255.0, 65535.0, 4095.0, 1023.0, float(x.max())):
            if x.max() <= top:
                half = np.array([top / 2])
                yield Preparation(f"--scale {top:g}", zero, np.array([top]))
                yield Preparation(f"--offset {top / 2:g} --scale {top / 2:g}", half, half)
    if x.min() >= 0 and x.max() <= 1:
        half = np.array([0.5])
        yield Preparation("--offset 0.5 --scale 0.5", half, half)
    if layout not in ("features", "time_features"):
        if (spread := x.std()) > 0:
            mean = np.array([x.mean()])
            yield Preparation(f"--offset {x.mean():.4g} --scale {spread:.4g}", mean, np.array([spread]))
        return
    axes = tuple(range(x.ndim - 1))
    spread, low, high = x.std(axis=axes), x.min(axis=axes), x.max(axis=axes)
    if (spread > 0).all():
        for what, offset, scale in (
            ("mean and standard deviation", x.mean(axis=axes), spread),
            ("minimum and range", low, high - low),
        ):
            yield Preparation(_columns_text(what, offset, scale), offset, scale)


def what_runs(x: Array, layout: Layout, run: Callable[[Tensor], Any]) -> str:
    """In words, the first usual preparation on which ``run`` does not raise; empty where there is none.

    Args:
        x: (n, *row_shape) raw rows. run: takes them in model units and layout.
    """
    for way in usual_preparations(x, layout):
        try:
            run(way.prepared(torch.from_numpy(np.array(x)), layout))
        except Exception:  # the model refuses rows prepared in this way too
            continue
        return f"It takes the rows with {way.option}: pass that, if training prepared them so"
    return ""


def _columns_text(what: str, offset: Array, scale: Array) -> str:
    """The options for one value per column; in words where the values would fill the screen."""
    if len(offset) > _COLUMNS_SPELT_OUT:
        return f"--offset and --scale of the {what} of each column"
    return " ".join(f"--{name} {','.join(f'{v:.6g}' for v in values)}" for name, values in
                    (("offset", offset), ("scale", scale)))  # fmt: skip


def channel_axis(row_shape: Sequence[int], layout: Layout) -> Literal["nchw", "nhwc"] | None:
    """Where rows without a layout look like pictures: the layout that they have by their shape; else None."""
    if layout != "any" or len(row_shape) != 3:
        return None
    for name, channels, sides in (
        ("nchw", row_shape[0], row_shape[1:]),
        ("nhwc", row_shape[2], row_shape[:2]),
    ):
        if channels in _CHANNELS and min(sides) >= _SMALLEST_SIDE:
            return name  # type: ignore[return-value]
    return None


def pictures_said(row_shape: Sequence[int], layout: Layout) -> tuple[str, ...]:
    """What rows that look like pictures lose without a layout; nothing for other rows."""
    looks = channel_axis(row_shape, layout)
    if looks is None:
        return ()
    return (
        f"rows of shape {list(row_shape)} look like pictures, and no layout says so: pass --layout {looks} "
        f"(layout='{looks}') for the heads of pictures, for tiles, and to score files of pictures",
    )


def other_axes(x: Array, layout: Layout, run: Callable[[Tensor], Any]) -> str:
    """In words, other axes of pictures on which ``run`` does not raise; empty where there are none.

    Args:
        x: (n, *row_shape) raw rows. run: takes them in model units and layout.
    """
    rows = torch.from_numpy(np.array(x)).to(torch.float32)
    if layout == "nchw" and x.ndim == 4 and x.shape[3] in _CHANNELS:
        layout = "any"  # they were said to have channels first
    tries: list[tuple[Tensor, str]] = []
    if channel_axis(x.shape[1:], layout) == "nhwc":
        tries.append((channels_first(rows, "nhwc"), "their channels before height and width: pass --layout nhwc"))
    if layout == "any" and x.ndim == 3:
        tries.append((rows.unsqueeze(1), "an axis for their one channel: in NumPy rows[:, None], with --layout nchw"))
    for turned, words in tries:
        try:
            run(turned)
        except Exception:  # the model refuses these, too
            continue
        return f"It takes the rows with {words}"
    return ""
