"""torch.nn.Module to ONNX: dynamic batch, opset 18, nothing optimised away."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.jit._trace import TracerWarning

from vae_edge_runtime.errors import ExportFailed, VaeEdgeError
from vae_edge_runtime.format.onnx_ops import ALLOWED
from vae_edge_runtime.format.specs import Signature

from ..onnx_version import OPSET
from .packing import packing_as_padding
from .remedies import BATCH_BRANCH, is_branch_on_batch, remedies_for
from .steer import Steered
from .torch_state import clean_stdout, kept_rng, slow_attention, torch_tables_made_once
from .user_lines import bare_name, is_users
from .watch import Watched, watch

_NEWEST_TRACED_IR_VERSION = 10
TRACED_ROWS = 3  # 0 and 1 are specialised by torch.export


class FreeAxis(NamedTuple):
    """An axis of a row that is free beside the batch: its name in a graph, and what it is a multiple of."""

    name: str
    step: int


FreeAxes = Mapping[str, Mapping[int, FreeAxis]]
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "UserError", "TracerWarning")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
_OPERATION = re.compile(r"target=torch\.ops\.(aten\.\w+)")
_TALKATIVE = (
    "torch.onnx._internal.exporter._registration",
    "torch.fx.experimental.symbolic_shapes",
    "torch.export",
)
_OUTER = "vae_edge_"
_RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")


@dataclass(frozen=True)
class Traced:
    """An unoptimised ONNX model, and which exporter made it.

    Attributes:
        lines: operator to the line of the model that (first) made one.
        left_out: lines of checks on values that only raise, which no graph can hold.
    """

    model: onnx.ModelProto
    exporter: Literal["dynamo", "legacy"]
    lines: dict[str, str]
    left_out: tuple[str, ...] = ()


def trace(
    module: nn.Module, examples: Sequence[Tensor], *, graph: str, signature: Signature, free: FreeAxes | None = None
) -> Traced:
    """Trace ``module`` with rows like ``examples`` (at least one each) into an ONNX model.

    Args:
        free: per tensor, the axes of one row that are free beside the batch; None: no axis.

    ``torch.export`` goes first. Where it fails for a reason of its own the legacy tracer may try,
    under a guard: it freezes Python branches and batch sizes without an error, so any warning of
    its own is a refusal, and parity at other batch sizes and rows has the last word.

    Raises:
        ExportFailed: both failed, or a random operator is in the graph; the message names the line.
    """
    repeats = -(-TRACED_ROWS // len(examples[0]))
    rows = tuple(x.repeat(repeats, *[1] * (x.ndim - 1))[:TRACED_ROWS] for x in examples)
    exporter: Literal["dynamo", "legacy"] = "dynamo"
    try:
        watched = watch(module, rows)
    except (VaeEdgeError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a model that gives another shape this time, SystemExit
        place = last_frame("".join(traceback.format_exception(error)))
        raise ExportFailed(
            f"graph '{graph}' does not run on {TRACED_ROWS} rows{f' at {place}' if place else ''}: "
            f"{type(error).__name__}: {_first_line(error)}; the model must give the same shapes at every call"
        ) from error
    steered = Steered(module, watched)
    try:
        model = _dynamo(steered, rows, signature, free or {})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit of a model, too
        root = _root(error)
        if type(root).__name__ in _DATA_DEPENDENT:
            raise _failed(graph, root, watched) from error
        try:
            model, exporter = _legacy(steered, rows, signature, free or {}), "legacy"
        except KeyboardInterrupt:
            raise
        except BaseException as also:
            raise _failed(graph, root, watched, f"; the legacy tracer: {_first_line(_root(also))}") from error
    if model.ir_version > _NEWEST_TRACED_IR_VERSION:
        # What 9 and 10 added (float8, metadata on nodes) is stripped or off the allow-list; of 11 we know nothing.
        raise ExportFailed(f"graph '{graph}' has IR version {model.ir_version}, newer than this exporter knows")
    frozen = [value.name for value in model.graph.input if value.type.tensor_type.shape.dim[0].dim_value]
    if frozen:
        raise ExportFailed(
            f"graph '{graph}' was frozen to a batch of {TRACED_ROWS} rows ({exporter} exporter): somewhere the batch "
            "size becomes a Python number; use x.shape[0] as it is, without int(), or -1"
        )
    name_free_axes(model, free or {}, graph)
    lines = {node.op_type: _line_of(node, watched) for node in reversed(model.graph.node)}
    for node in _needed(model.graph):
        if node.op_type.startswith(_RANDOM):
            raise ExportFailed(
                f"graph '{graph}' draws random numbers ({node.op_type} at {_line_of(node, watched)}): return the mean "
                "and the scale parameter, and leave the noise to the runtime"
            )
    return Traced(_named(model, signature), exporter, lines, tuple(watched.checks))


def name_free_axes(model: onnx.ModelProto, free: FreeAxes, graph: str) -> None:
    """Give the free axes of inputs and outputs their names; one that is a number was frozen."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, (name, _) in free.get(value.name.removeprefix(_OUTER), {}).items():
            dim = value.type.tensor_type.shape.dim[1 + axis]
            if dim.dim_value:
                raise ExportFailed(
                    f"graph '{graph}' was frozen to a {name.replace('_', ' ')} of {dim.dim_value}: somewhere a size "
                    "becomes a Python number; use x.shape[-2:] as it is, or export without --dynamic-size"
                )
            dim.dim_param = name


def _outer_names(signature: Signature) -> tuple[list[str], list[str]]:
    """Names no value inside a traced graph has: the exporter lets an output called "mean" meet another one."""
    inputs, outputs = ([_OUTER + t.name for t in side] for side in signature)
    return inputs, outputs


def _named(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """Give inputs and outputs their names, and values inside that already have one of these another."""
    public = {_OUTER + t.name: t.name for side in signature for t in side}
    renamed = {name: f"inner_{name}" for name in public.values()} | public
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    return model


def refused_operators(model: onnx.ModelProto, traced: Traced) -> dict[str, str]:
    """Operators of a cleaned-up graph that no device runs, each with the line of the user's model it came from."""
    refused = sorted({node.op_type for node in model.graph.node} - ALLOWED)
    return {op: traced.lines.get(op, "an unknown place") for op in refused}


def _dynamo(module: nn.Module, rows: tuple[Tensor, ...], signature: Signature, free: FreeAxes) -> onnx.ModelProto:
    """Trace with torch.export: free axes by name and step, and where it takes none of these, left to it."""
    if free:
        try:
            return _exported(module, rows, signature, free, _named_dimension)
        except Exception:  # such as a guard on a height, which is not one of all multiples; parity tells what holds
            return _exported(module, rows, signature, free, lambda _: torch.export.Dim.AUTO)
    return _exported(module, rows, signature, free, _named_dimension)


def _named_dimension(axis: FreeAxis) -> Any:
    dimension = torch.export.Dim(axis.name)
    return dimension if axis.step == 1 else axis.step * dimension


def _exported(
    module: nn.Module,
    rows: tuple[Tensor, ...],
    signature: Signature,
    free: FreeAxes,
    dimension: Callable[[FreeAxis], Any],
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    made = {axis.name: dimension(axis) for axes in free.values() for axis in axes.values()}
    axes = tuple(
        {0: batch, **{1 + at: made[axis.name] for at, axis in free.get(t.name, {}).items()}} for t in signature.inputs
    )
    inputs, outputs = _outer_names(signature)
    with quiet(), kept_rng(), slow_attention(), packing_as_padding(), torch_tables_made_once(), torch.no_grad():
        program = torch.onnx.export(
            module,
            rows,
            dynamo=True,
            # The stock optimiser deletes additions of 1e-8 and less (0/0 on a black frame).
            optimize=False,
            opset_version=OPSET,
            dynamic_shapes=(axes,),
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    if program is None:
        raise ExportFailed("the exporter returned nothing")
    model: onnx.ModelProto = program.model_proto
    return model


def _legacy(module: nn.Module, rows: tuple[Tensor, ...], signature: Signature, free: FreeAxes) -> onnx.ModelProto:
    inputs, outputs = _outer_names(signature)
    axes = {name: {1 + axis: text for axis, (text, _) in free.get(name.removeprefix(_OUTER), {}).items()}
            for name in (*inputs, *outputs)}  # fmt: skip
    with (
        quiet(),
        clean_stdout(),
        kept_rng(),
        slow_attention(),
        packing_as_padding(),
        torch.no_grad(),
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("error", TracerWarning)
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            rows,
            path,
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,
            dynamic_axes={name: {0: "batch", **more} for name, more in axes.items()},
            input_names=inputs,
            output_names=outputs,
        )
        return onnx.load(path)


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes an output depends on; what an encoder draws and nobody uses is gone after clean-up."""
    wanted, found = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found


def _line_of(node: onnx.NodeProto, watched: Watched) -> str:
    """The user's line a node came from: by the stack or the PyTorch operation the exporter noted beside it."""
    for entry in node.metadata_props:
        if entry.key.endswith("stack_trace") and (place := last_frame(entry.value)):
            return place
    operations = [name for entry in node.metadata_props for name in _OPERATION.findall(entry.value)]
    return next((watched.lines[n] for n in map(bare_name, operations) if n in watched.lines), f"node '{node.name}'")


def last_frame(text: str) -> str | None:
    """file:line of the innermost frame in a printed stack that is not torch's own."""
    frames = [f for f in _FRAME.findall(text) if is_users(f[0])]
    return f"{frames[-1][0]}:{frames[-1][1]} in {frames[-1][2]}" if frames else None


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _failed(graph: str, root: BaseException, watched: Watched, more: str = "") -> ExportFailed:
    frames = traceback.format_exception(root)
    place = last_frame(str(root)) or last_frame("".join(frames))
    at = f" at {place}" if place else ""
    on_values = type(root).__name__ in _DATA_DEPENDENT
    if known := remedies_for(watched.lines, str(root), on_values=on_values):
        return ExportFailed(f"graph '{graph}' could not be exported: {'; '.join(known)}")
    if is_branch_on_batch(str(root)):
        return ExportFailed(f"graph '{graph}' could not be exported{at}: {BATCH_BRANCH} ({_first_line(root)})")
    if on_values:
        reason = "a Python branch on tensor values: use torch.where, or choose before the export"
    else:
        reason = (
            "usual reasons: Python branches on tensor values, shapes fixed to one batch size, or results that are "
            "not tensors"
        )
    return ExportFailed(
        f"graph '{graph}' could not be exported{at}: {type(root).__name__}: {_first_line(root)}{more}; {reason}"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's notes, and the half-built graph it prints when it fails, off the user's screen.

    Distributions do not check their arguments meanwhile: such a check is a branch on values.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    validating = Distribution._validate_args
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    Distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        Distribution.set_default_validate_args(validating)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
