"""What an export would find in a model, before any: nothing is written, and nothing about the model raises."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.errors import VaeEdgeError

from .adapters import Decode, Encode
from .adapters.scale_form import ScaleForm, declared_form
from .config import ExportConfig
from .doors import taken_in
from .graphs.build import BuiltGraphs, build_graphs, filled_in
from .halves.door import recipe_of
from .rows import rows_to_look_at
from .tracing.clean_graphs import trace_clean


@dataclass(frozen=True)
class GraphFindings:
    """One graph of three.

    Attributes:
        inputs, outputs: name to shape of one row. flops: of one row, 2 per multiply-add, of matrix
            products and convolutions (``torch.utils.flop_counter``).
        weights: elements the graph needs. nodes, operators: of the cleaned ONNX graph; None and
            empty where it could not be traced.
        refused: operator outside the allow-list, to the line of the model it came from.
        exporter: ``dynamo`` or ``legacy``.
        problem: why it cannot be exported, or None.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    flops: int
    weights: int | None = None
    nodes: int | None = None
    operators: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    exporter: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Inspection:
    """A model as an export would see it.

    Attributes:
        recognised: name of the adapter, None where nothing fits.
        evidence: what was found and why, a line each.
        parameters: elements of all parameters of the module, whether exported or not.
        latent: kind, shape, prior and the like.
        problems: everything that stands in the way, each with its remedy; empty: it can be exported.
    """

    recognised: str | None
    model: str
    parameters: int
    evidence: tuple[str, ...]
    latent: dict[str, Any]
    graphs: dict[str, GraphFindings]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of an export."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"ok": self.ok}


@checked
def inspect_model(
    model: Any,
    rows: Any,
    *,
    condition: NDArray[Any] | None = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale_form: ScaleForm | None = None,
    codebook: int | None = None,
    config: ExportConfig | None = None,
    scale: Any = None,
) -> Inspection:
    """Recognise, adapt and trace a model; problems of the model are findings, not exceptions.

    Args:
        rows: (n, *row_shape) raw rows as in ``export``, 3 or more; random ones do for a first look.
        condition, encode, decode, scale_form, codebook, config, scale: as in ``export``.

    Raises:
        InputError: ``rows`` are no rows.
    """
    config, parameters = config or ExportConfig(), 0
    evidence: tuple[str, ...] = ()
    rows, config, _ = taken_in(rows, config, "the rows")
    few_rows = rows_to_look_at(rows, condition, config)
    kind = type(model).__name__
    try:
        scale_form = declared_form(scale_form, scale)
        recipe = recipe_of(model, encode=encode, decode=decode)
        parameters = sum(p.numel() for p in recipe.module.parameters() if not is_lazy(p))
        evidence = recipe.notes if recipe.missing else (recipe.in_words, *recipe.notes)
        config, brought_along = filled_in(config, recipe)
        built = build_graphs(recipe, few_rows, config, example=None, scale_form=scale_form, codebook=codebook)
    except VaeEdgeError as error:
        return Inspection(
            recipe.name if parameters and not recipe.missing else None,
            kind,
            parameters,
            evidence,
            {},
            {},
            (_as_text(error),),
        )
    graphs = {name: _graph(built, name) for name in built.modules}
    problems = [f"{name}: {findings.problem}" for name, findings in graphs.items() if findings.problem]
    problems += [
        f"{name}: the operator {op} at {line} is not one a device runs: replace it by operations of the allow-list "
        "(vae_edge_runtime/format/onnx_ops.py), or leave it out of encode and decode"
        for name, findings in graphs.items()
        for op, line in findings.refused.items()
    ]
    latent = {key: value for key, value in asdict(built.latent).items() if key != "prior"} | {
        "scale_form": built.vae.scale_form,
        "has_kl": built.vae.has_kl,
        "size": math.prod(built.latent.shape),
    }
    return Inspection(
        built.vae.recipe, kind, parameters, (*built.vae.evidence, *brought_along), latent, graphs, tuple(problems)
    )


def _graph(built: BuiltGraphs, name: str) -> GraphFindings:
    signature, module = built.signatures[name], built.modules[name]
    inputs, outputs = ({t.name: t.shape for t in side} for side in signature)
    flops = _flops(module, [torch.from_numpy(np.array(built.examples[name][t.name]))[:1] for t in signature.inputs])
    try:
        traced = trace_clean(module, built.examples[name], graph=name, signature=signature)
    except VaeEdgeError as error:
        return GraphFindings(inputs, outputs, flops, problem=_as_text(error))
    return GraphFindings(
        inputs,
        outputs,
        flops,
        weights=sum(math.prod(t.dims) for t in traced.model.graph.initializer),
        nodes=len(traced.model.graph.node),
        operators=_operator_counts(traced.model),
        refused=traced.refused,
        exporter=traced.exporter,
    )


def _flops(module: nn.Module, feeds: list[torch.Tensor]) -> int:
    with FlopCounterMode(display=False, custom_mapping=_RECURRENT) as counter, torch.no_grad():
        module(*feeds)
    return int(counter.get_total_flops())


def _lstm_flops(x: Any, w_input: Any, w_hidden: Any, *_: Any, **__: Any) -> int:
    """2 multiply-adds per weight, step and row; x is (steps, rows, features)."""
    return int(2 * x[0] * x[1] * (math.prod(w_input) + math.prod(w_hidden)))


_RECURRENT = {torch.ops.aten.mkldnn_rnn_layer: _lstm_flops}
"""What the counter does not know; a GRU runs as matrix products, which it counts."""


def _operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _as_text(error: VaeEdgeError) -> str:
    return f"{type(error).__name__}: {error}"
