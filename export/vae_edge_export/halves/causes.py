"""Why a half does not do what an export needs: the cause is looked for before a remedy is named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..tracing.user_lines import caller
from .normalise import Encoded, read_encoded
from .probe import NoiseSource, PinnedNoise

_REDUCED = (torch.float16, torch.bfloat16)
_LINEAR_RTOL = 1e-3


class ReducedTypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, notes the first operation that gives float16 or bfloat16.

    Attributes:
        seen: "bfloat16 at file:line (function)", or None.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        result = func(*args, **(kwargs or {}))
        if self.seen is None and isinstance(result, Tensor) and result.dtype in _REDUCED:
            self.seen = f"{str(result.dtype).removeprefix('torch.')} at {caller()}"
        return result

    def refuse(self, what: str) -> None:
        """Raise AdaptError where something was seen."""
        if self.seen is not None:
            raise AdaptError(
                f"{what} computes in {self.seen}: autocast, .half() or .bfloat16() inside it. Switch autocast off "
                "(torch.autocast(…, enabled=False)) or take the cast out; the bundle is exported in float32, and "
                "precisions=('fp32', 'fp16') adds a variant in float16 that is measured"
            )


def other_values(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...]) -> str:
    """In words: why ``encode`` gives other values on a second call, and what to do."""
    before = _attributes(module)
    runs: list[list[Tensor]] = []
    sources: dict[NoiseSource, None] = {}
    for value in (0.0, 1.0, 2.0):
        with PinnedNoise(value) as pin:
            runs.append(tensors_of(read_encoded(recipe.encode(module, *feeds))))
        sources |= pin.sources
    places = ", ".join(f"{source.op} at {source.where}" for source in sources)
    if not sources:
        after = _attributes(module)
        kept = sorted(name for name, value in after.items() if before.get(name) is not value)
        return (
            f"encode gives other values on a second call and draws nothing: it keeps a state from call to call "
            f"({', '.join(kept[:4]) or 'not in an attribute of its own'}). Start every call from the same state, for "
            "instance from zeros"
        )
    if not _enters_linearly(runs):
        return (
            f"encode gives other values on a second call: it draws noise before its layers ({places}), such as a "
            "random first hidden state. Put zeros in its place, torch.zeros(…), where the model is not training"
        )
    return (
        f"encode gives other values on a second call, so it samples ({places}): return (mean, scale) before the "
        "reparameterisation, for instance encode=lambda m, x: m.encoder(x)"
    )


def batch_statistics(module: nn.Module, error: BaseException | None = None) -> str:
    """In words: the layers that normalise by the batch at hand, and what to do; empty where there are none."""
    names = [
        name for name, part in module.named_modules() if isinstance(part, _BatchNorm) and part.running_mean is None
    ]
    if not names and "Expected more than 1 value per channel" not in str(error):
        return ""
    who = f"{', '.join(names)} {'normalise' if len(names) > 1 else 'normalises'}" if names else "batch_norm normalises"
    return (
        f"{who} by the statistics of the batch at hand, so a row alone has no score of its own. Train with "
        "track_running_stats=True (in a function: training=False and running means), or use LayerNorm or GroupNorm"
    )


def tensors_of(encoded: Encoded) -> list[Tensor]:
    """Every tensor an encoder returned, in a fixed order."""
    named = [tensor for pair in encoded.pairs for tensor in pair]
    listed = [*named, *encoded.unnamed, encoded.code, encoded.indices, encoded.z_q]
    return [tensor for tensor in listed if tensor is not None]


def _enters_linearly(runs: list[list[Tensor]]) -> bool:
    """Whether results at noise 0, 1 and 2 lie on a line, as mean + scale * noise does."""
    for zero, one, two in zip(*runs, strict=True):
        first, second = (one - zero).double(), (two - one).double()
        size = max(float(first.abs().max()), float(second.abs().max()), 1e-12) if first.numel() else 1.0
        if not torch.allclose(first, second, rtol=_LINEAR_RTOL, atol=_LINEAR_RTOL * size):
            return False
    return True


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Attributes of every part by dotted name; buffers among them."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        own = {key: value for key, value in vars(part).items() if not key.startswith("_") or isinstance(value, Tensor)}
        found |= {f"{name}.{key}".lstrip("."): value for key, value in {**own, **part._buffers}.items()}
    return found
