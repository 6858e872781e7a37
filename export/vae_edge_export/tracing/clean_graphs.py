"""The tracing stage of an export: torch modules to cleaned-up ONNX graphs, and what no device would run in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.errors import ExportFailed
from vae_edge_runtime.format.specs import Signature

from ..passes import clean_up
from ..timer import Timer
from .remedies import remedy_for
from .trace import FreeAxes, name_free_axes, refused_operators, trace


@dataclass(frozen=True, eq=False)
class CleanGraph:
    """One graph, traced and cleaned up.

    Attributes:
        exporter: ``dynamo`` or ``legacy``.
        refused: operator outside the allow-list, to the line of the model it came from.
        left_out: lines of checks on values that only raise.
    """

    model: onnx.ModelProto
    exporter: str
    refused: dict[str, str]
    left_out: tuple[str, ...]


def trace_clean(
    module: nn.Module,
    example: Mapping[str, NDArray[Any]],
    *,
    graph: str,
    signature: Signature,
    free: FreeAxes | None = None,
) -> CleanGraph:
    """Trace one graph and clean it up; operators that are refused are reported, not raised.

    Args:
        example: by input name, (n, *shape) to trace with. free: as ``trace`` takes it.

    Raises:
        ExportFailed: PyTorch's exporter failed, or a pass found something it cannot keep exact.
    """
    inputs = [torch.from_numpy(np.array(example[t.name])) for t in signature.inputs]
    traced = trace(module, inputs, graph=graph, signature=signature, free=free)
    model = clean_up(traced.model, graph=graph)
    name_free_axes(model, free or {}, graph)  # folding an Identity leaves an output with the shape of what it copied
    return CleanGraph(model, traced.exporter, refused_operators(model, traced), traced.left_out)


def trace_all(
    modules: Mapping[str, nn.Module],
    signatures: Mapping[str, Signature],
    examples: Mapping[str, Mapping[str, NDArray[Any]]],
    timer: Timer,
    free: Mapping[str, FreeAxes] | None = None,
) -> dict[str, CleanGraph]:
    """Every graph of a bundle, traced and cleaned up; ``free``: per graph, as ``trace`` takes it.

    Raises:
        ExportFailed: as ``trace_clean``, or a graph holds an operator outside the allow-list.
    """
    traced = {}
    for graph, module in modules.items():
        with timer(f"trace {graph}"):
            traced[graph] = trace_clean(
                module, examples[graph], graph=graph, signature=signatures[graph], free=(free or {}).get(graph)
            )
            _check_operators(traced[graph], graph)
    return traced


def _check_operators(traced: CleanGraph, graph: str) -> None:
    if traced.refused:
        places = "; ".join(f"{op} at {line}: {remedy_for(op)}" for op, line in traced.refused.items())
        raise ExportFailed(f"graph '{graph}' holds operators that not every device runs: {places}")
