"""What the graphs of reduced variants are made from and tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from vae_edge_export.checks.in_memory import in_memory
from vae_edge_export.checks.parity import run_backend
from vae_edge_export.graphs.build import BuiltGraphs
from vae_edge_export.rows import Feeds, rows_of
from vae_edge_runtime.format.specs import InputSpec

from .fidelity import Observed
from .layers import Body

Array = NDArray[Any]
Models = dict[str, onnx.ModelProto]


@dataclass(frozen=True, eq=False)
class Material:
    """What variants are made from.

    Attributes:
        models: the fp32 graphs, nodes named uniquely. feeds: per graph, calibration rows to take ranges from.
        probes: per graph, rows beyond them that must not overflow.
        x: the feeds of ``score``, on which candidates are compared; fp32: what fp32 makes of them.
        traps: fp32's probability, per kind of unnatural row, that one scores above a normal row.
        rate: false-positive rate of the thresholds. whole: rows are whole numbers, classes.
        judged: how many other rows the gate will be held on.
    """

    built: BuiltGraphs
    models: Models
    bodies: dict[str, Body]
    feeds: Mapping[str, Feeds]
    probes: Mapping[str, Sequence[Feeds]]
    x: Feeds
    fp32: Observed
    traps: Mapping[str, float]
    row: InputSpec
    rate: float
    whole: bool
    judged: int


def scores_of(material: Material, model: onnx.ModelProto, rows: int | None = None) -> Array:
    """Of the default head, what a graph ``score`` makes of the first rows, all by default."""
    with in_memory({"score": model}) as backend:
        signature = material.built.signatures["score"]
        return run_backend(backend, "score", signature, rows_of(material.x, slice(rows)), rows=64)["score"]
