"""That two halves together are the whole: decode(z) is what forward gives, for every z that it draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from ..halves.probe import PinnedNoise
from .forward_trace import STAY_IN_EVAL, ForwardTrace
from .reasons import NotCut

if TYPE_CHECKING:
    from .affine import Line
    from .cut_model import CutModel

NOISES = (0.0, 1.0, -0.5)
"""Values that every noise of a forward is pinned to, one after the other."""
_RTOL = 1e-3


def prove(
    cut: CutModel,
    traced: ForwardTrace,
    at: Sequence[fx.Node],
    x_hats: Sequence[fx.Node],
    feeds: tuple[Tensor, ...],
    lines: Sequence[Line] = (),
) -> None:
    """Compare the model's own forward with the decoder, fed what the forward draws, at noise 0, 1 and -0.5.

    Args:
        at: the nodes of the cut. x_hats: the nodes that the decoder gives.
        lines: of every latent, whose draw must be mean + std * noise.

    Raises:
        NotCut: they differ, or the mean is not what is drawn at noise 0.
    """
    x, *condition = feeds
    places = {node: place for place, (_, node) in enumerate(traced.outputs)}
    training = {part: part.training for part in traced.whole.modules()}
    for value in NOISES:
        try:
            for part in traced.whole.modules():
                part.training = traced.mode == "training" and not isinstance(part, STAY_IN_EVAL)
            with PinnedNoise(value):
                returned = traced.whole(x.clone(), *condition)
        finally:
            for part, mode in training.items():
                part.training = mode
        with PinnedNoise(value):
            parts = [node for line in lines for node in (line.mean, line.std)]
            run = _Recording(traced.graph_module, (*at, *x_hats, *parts))
            run.run(x.clone(), *condition)
        drawn = [run.values[node] for node in at]
        for node, rows in zip(x_hats, cut.decoder(*drawn, *condition), strict=True):
            whole = returned[places[node]] if node in places else run.values[node]
            if not _close(rows, whole):
                raise NotCut(f"the halves do not give what its forward gives where its noise is {value:g}")
        for line, z in zip(lines, drawn, strict=False):
            if not _close(run.values[line.mean] + run.values[line.std] * value, z):
                raise NotCut(f"what it draws is not mean + std * noise where its noise is {value:g}")
        if value == 0.0:
            encoded = cut.encoder(x, *condition)
            means = encoded[::2] if lines and len(at) > 1 else encoded[: len(at)]
            if not all(_close(mean, z) for mean, z in zip(means, drawn, strict=True)):
                raise NotCut("the mean is not what its forward draws where its noise is 0")


class _Recording(fx.Interpreter):
    """Runs a graph and keeps the values of some nodes."""

    def __init__(self, module: nn.Module, nodes: Sequence[fx.Node]) -> None:
        super().__init__(module)
        self.wanted, self.values = set(nodes), dict[fx.Node, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        if n in self.wanted:
            self.values[n] = result
        return result


def _close(a: Tensor, b: Tensor) -> bool:
    if a.numel() != b.numel():
        return False
    left, right = a.reshape(-1).double(), b.reshape(-1).double()
    where = torch.isfinite(left) & torch.isfinite(right)
    size = float(right[where].abs().max()) if bool(where.any()) else 0.0
    return bool(torch.allclose(left, right, rtol=_RTOL, atol=1e-5 * max(size, 1e-6), equal_nan=True))
