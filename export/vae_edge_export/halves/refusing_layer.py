"""The layer that refused rows, and what it takes in the shape of rows: for the message, instead of PyTorch's own."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from vae_edge_runtime.text import counted

_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_WIDTHS = ("in_features", "in_channels", "input_size")


class RefusingLayer(NamedTuple):
    """A layer of a model that raised.

    Attributes:
        said: its name and kind.
        takes: features or channels.
        axes: of its picture or series; 0 for a layer of features.
        given: the shape it was called with.
    """

    said: str
    takes: int
    axes: int
    given: tuple[int, ...]

    def refused_rows(self, rows: tuple[int, ...]) -> str:
        """In words, which rows the model takes; empty where its layer got something else than the rows.

        Args:
            rows: shape of the rows, with their number.
        """
        if self.given != rows:
            return ""
        if not self.axes:
            if len(rows) == 2:
                return f"the model takes {counted(self.takes, 'column')}; the rows have {rows[1]:,}"
            flat = math.prod(rows[1:]) == self.takes
            return f"the model takes flat rows, (n, {self.takes})" if flat else ""
        sides = rows[1:] if len(rows) == self.axes + 1 else _AXES[self.axes]
        wanted = f"the model takes rows of the shape ({', '.join(map(str, ('n', self.takes, *sides)))})"
        one = "; of one row, NumPy's x[None, None] makes that shape" if len(rows) == self.axes else ""
        return f"{wanted}{one}"


def refusing_layer(module: nn.Module, error: BaseException) -> RefusingLayer | None:
    """The innermost layer of known width that an exception came through; None where there is none."""
    found, place = None, error.__traceback__
    while place is not None:
        variables = place.tb_frame.f_locals
        part, x = variables.get("self"), variables.get("input")
        takes = next((n for key in _WIDTHS if isinstance(n := getattr(part, key, None), int)), None)
        if isinstance(part, nn.Module) and takes is not None and isinstance(x, Tensor):
            name = next((name for name, each in module.named_modules() if each is part), "")
            axes = len(getattr(part, "kernel_size", ())) if hasattr(part, "in_channels") else 0
            found = RefusingLayer(f"{name} ({type(part).__name__})".strip(), takes, axes, tuple(x.shape))
        place = place.tb_next
    return found
