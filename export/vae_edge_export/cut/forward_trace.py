"""A model's forward as one graph of ATen operations, with a free batch size."""

from __future__ import annotations

import inspect
import math
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.distributions import Distribution

from ..halves.door import in_words, place_of
from ..halves.normalise import fields_of
from ..tracing.steer import Steered
from ..tracing.torch_state import kept_rng, slow_attention
from ..tracing.trace import TRACED_ROWS, last_frame, quiet
from ..tracing.watch import watch
from .noise_input import NOISE_NAMES, NoiseInput
from .operations import name_of
from .reasons import NotCut

STAY_IN_EVAL = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


class WholeForward(nn.Module):
    """A model's forward, its results flat.

    Attributes:
        names: field of each tensor of the last result, empty where it has none.
    """

    def __init__(self, model: nn.Module, noise_inputs: tuple[str, ...] = (), *, flat_rows: bool = False) -> None:
        """``noise_inputs`` are parameters of forward that take noise; ``flat_rows``: it takes (n, values)."""
        super().__init__()
        self.model, self.noise_inputs, self.flat_rows = model, noise_inputs, flat_rows
        self.names: tuple[str, ...] = ()

    def forward(self, x: Tensor, *condition: Tensor) -> tuple[Tensor, ...]:
        """X (n, *input_shape) and its condition, to every float tensor that the model returns."""
        noise = {name: NoiseInput(name) for name in self.noise_inputs}
        returned = self.model(x.flatten(1) if self.flat_rows else x, *condition, **noise)
        named = named_tensors(returned)
        self.names = tuple(name for name, _ in named)
        return tuple(tensor for _, tensor in named)


def named_tensors(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Every float tensor in what a forward returned, with the name of its field."""
    if isinstance(value, Tensor):
        return [(name, value)] if value.is_floating_point() else []
    if isinstance(value, Distribution):
        return [(name or "mean", value.mean)]
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return [pair for item in value for pair in named_tensors(item, name)]
    if value is None or isinstance(value, (str, bytes, int, float)):
        return []
    fields = value if isinstance(value, Mapping) else fields_of(value)
    return [pair for key, item in fields.items() for pair in named_tensors(item, str(key))]


@dataclass(frozen=True, eq=False)
class ForwardTrace:
    """One traced forward.

    Attributes:
        graph_module: ATen operations without side effects; its parameters are the model's own.
        whole: the module that was traced.
        x, conditions: placeholders. outputs: (name, node) of every float tensor that forward returns.
        row_shape: of one row. rows: that it was traced with.
        mode: ``eval`` or ``training``.
    """

    graph_module: fx.GraphModule
    whole: WholeForward
    x: fx.Node
    conditions: tuple[fx.Node, ...]
    outputs: tuple[tuple[str, fx.Node], ...]
    row_shape: tuple[int, ...]
    rows: int
    mode: str


def whole_forward(model: nn.Module, conditions: int) -> WholeForward:
    """The forward of a model, with what it asks for beside rows and conditions found from its signature.

    Raises:
        NotCut: it asks for more than rows, conditions and noise.
    """
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return WholeForward(model)
    required = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if not required and not any(p.kind is p.VAR_POSITIONAL for p in parameters) and not parameters:
        raise NotCut("its forward takes no rows")
    beside = required[1:] if required else []
    noise = tuple(name for name in beside if name.lower().rstrip("_0123456789") in NOISE_NAMES)
    asked = [name for name in beside if name not in noise]
    if len(asked) > conditions:
        names = ", ".join(repr(name) for name in asked[conditions:])
        raise NotCut(
            f"its forward also takes {names}: pass condition= (one array, with one value or vector per row), or a "
            "forward with a default for it"
        )
    return WholeForward(model, noise)


def trace_forward(whole: WholeForward, feeds: tuple[Tensor, ...], *, training: bool) -> ForwardTrace:
    """Trace ``whole`` on rows like ``feeds``, with a free batch size.

    Args:
        whole: of a private copy in eval mode, which is left in eval mode.
        training: with ``self.training`` set everywhere but in layers of normalisation and dropout.

    Raises:
        NotCut: it could not be traced.
    """
    repeats = -(-TRACED_ROWS // len(feeds[0]))
    rows = tuple(feed.repeat(repeats, *[1] * (feed.ndim - 1))[:TRACED_ROWS] for feed in feeds)
    modes = {part: part.training for part in whole.modules()}
    try:
        for part in whole.modules():
            part.training = training and not isinstance(part, STAY_IN_EVAL)
        graph_module = _traced(whole, rows)
    except KeyboardInterrupt:
        raise
    except NotCut:
        raise
    except BaseException as error:  # whatever a foreign forward and the tracer raise, SystemExit too
        raise NotCut(f"tracing its forward failed{_place(error)}: {_short(error)}") from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    (returned,) = (node.args[0] for node in graph_module.graph.nodes if node.op == "output")
    nodes = returned if isinstance(returned, (tuple, list)) else (returned,)
    return ForwardTrace(
        graph_module=graph_module,
        whole=whole,
        x=placeholders[0],
        conditions=tuple(placeholders[1:]),
        outputs=tuple((name, node) for name, node in zip(whole.names, nodes, strict=True) if node is not None),
        row_shape=tuple(feeds[0].shape[1:]),
        rows=TRACED_ROWS,
        mode="training" if training else "eval",
    )


def _traced(whole: WholeForward, rows: tuple[Tensor, ...]) -> fx.GraphModule:
    batch = torch.export.Dim("batch")
    with quiet(), kept_rng(), slow_attention(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steered = Steered(whole, watch(whole, rows))
        dynamic = (tuple({0: batch} for _ in rows),)
        program = torch.export.export(steered, rows, dynamic_shapes=dynamic, strict=False)
        graph_module: fx.GraphModule = program.run_decompositions({}).module(check_guards=False)
    _register_constants(graph_module)
    _without_broadcasts(graph_module.graph)
    _without_views(graph_module.graph)
    return graph_module


def _without_views(graph: fx.Graph) -> None:
    """A view asks for the memory order of the traced rows; halves are run on tensors of other orders."""
    for node in graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default


def _without_broadcasts(graph: fx.Graph) -> None:
    """A tensor that ``broadcast_tensors`` leaves as it is no longer depends on those beside it."""
    for node in list(graph.nodes):
        if name_of(node) != "getitem" or name_of(node.args[0]) != "broadcast_tensors":
            continue
        inner = node.args[0].args[0][node.args[1]]
        if _same_shape(inner, node):
            node.replace_all_uses_with(inner)


def _same_shape(a: fx.Node, b: fx.Node) -> bool:
    first, second = a.meta.get("val"), b.meta.get("val")
    return isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape


def _register_constants(graph_module: fx.GraphModule) -> None:
    """Tensors that the tracer lifted out of code become buffers, which follow a change of dtype."""
    for node in graph_module.graph.nodes:
        if node.op != "get_attr":
            continue
        owner: Any = graph_module
        *path, name = node.target.split(".")
        for part in path:
            owner = getattr(owner, part)
        value = getattr(owner, name, None)
        if isinstance(value, Tensor) and name not in owner._parameters and name not in owner._buffers:
            delattr(owner, name)
            owner.register_buffer(name, value)


def elements(node: fx.Node) -> int | None:
    """Elements per row of a node whose first axis is the batch; None for anything else."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.ndim < 2 or isinstance(value.shape[0], int):
        return None
    return math.prod(size for size in value.shape[1:] if isinstance(size, int))


def line_of(node: fx.Node) -> str:
    """The user's line that a node comes from, `` at file:line``; empty where it is not known."""
    place = last_frame(node.meta.get("stack_trace") or "")
    return f" at {place}" if place else ""


def _place(error: BaseException) -> str:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if place := place_of(root):
        return place
    place = last_frame("".join(traceback.format_exception(root))) or ""
    return f" at {place}" if place else ""


def _short(error: BaseException) -> str:
    return in_words(error).strip().split("\n")[0][:200]
