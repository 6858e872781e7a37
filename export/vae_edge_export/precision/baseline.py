"""What reduced variants are made from and compared with: the fp32 graphs, rows, and what fp32 makes of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from vae_edge_export.checks.decisions import with_noise
from vae_edge_export.checks.in_memory import in_memory
from vae_edge_export.checks.parity import Latents, graph_feeds, run_backend
from vae_edge_export.config import ExportConfig
from vae_edge_export.graphs.build import BuiltGraphs
from vae_edge_export.rows import ExportRows, Feeds, rows_of
from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.specs import InputSpec

from .activations import range_rows
from .fidelity import Observed, default_head_traps, observe
from .layers import Network, find_networks, named_uniquely

Array = NDArray[Any]
Models = dict[str, onnx.ModelProto]

_CHOICE_ROWS = 256
"""Calibration rows on which candidates are compared; ranges are taken from as many, or fewer of large images."""


@dataclass(frozen=True, eq=False)
class Fp32Baseline:
    """What the candidates of a reduced variant are made from and compared with.

    Attributes:
        models: the fp32 graphs, nodes named uniquely.
        networks: per graph, the layers that may lose precision.
        range_feeds: per graph, calibration rows to take ranges from.
        probes: per graph, rows beyond them that must not overflow.
        feeds: of ``score``, on which candidates are compared.
        fp32: what the fp32 graphs make of ``feeds``.
        traps: fp32's probability, per kind of unnatural row, that one scores above a normal row.
        row: what one row is.
        false_positive_rate: of the thresholds that decisions are compared at.
        classes: rows are whole numbers, classes.
        gate_rows: how many other rows the gate will be held on.
    """

    built: BuiltGraphs
    models: Models
    networks: dict[str, Network]
    range_feeds: Mapping[str, Feeds]
    probes: Mapping[str, Sequence[Feeds]]
    feeds: Feeds
    fp32: Observed
    traps: Mapping[str, float]
    row: InputSpec
    false_positive_rate: float
    classes: bool
    gate_rows: int


def measure_baseline(
    built: BuiltGraphs,
    models: Mapping[str, onnx.ModelProto],
    rows: ExportRows,
    config: ExportConfig,
    backend: Backend,
    latents: Latents,
    probe_rows: Sequence[Array],
) -> Fp32Baseline:
    """Run the fp32 graphs on calibration rows, for candidates of fewer bits to be compared with.

    Args:
        models: the cleaned-up graphs; copies are worked on.
        backend: runs the fp32 graphs. latents: (encode's first output) -> what to feed ``decode``.
        probe_rows: made-up rows that PyTorch has finite scores for, (1, *row_shape) each.
    """
    named = {graph: named_uniquely(copy.deepcopy(model)) for graph, model in models.items()}
    classes = LIKELIHOODS[built.score.likelihood].values == "classes"
    feeds = rows_of(rows.calibration, slice(_CHOICE_ROWS))
    fp32 = observe(backend, built, feeds)
    extreme_feeds = [{**rows_of(feeds, slice(1)), "x": row} for row in probe_rows]
    for_ranges = rows_of(feeds, slice(range_rows(named["score"], feeds)))
    probing: dict[str, list[dict[str, Array]]] = {"encode": extreme_feeds, "score": extreme_feeds, "decode": []}
    noise = None
    if "sampled" in built.signatures:
        noise = with_noise(built, for_ranges)["noise"]
        probing["sampled"] = [{**one, "noise": noise[:1]} for one in extreme_feeds]
    return Fp32Baseline(
        built=built,
        models=named,
        networks=find_networks(named),
        range_feeds=graph_feeds(built.signatures, for_ranges, latents(fp32.latents[: len(for_ranges["x"])]), noise),
        probes=probing,
        feeds=feeds,
        fp32=fp32,
        traps=default_head_traps(backend, built, feeds, rows.row, classes=classes),
        row=rows.row,
        false_positive_rate=config.false_positive_rate,
        classes=classes,
        gate_rows=len(rows.held_out["x"]),
    )


def scores_of(baseline: Fp32Baseline, model: onnx.ModelProto, rows: int | None = None) -> Array:
    """Of the default head, what a graph ``score`` makes of the first rows, all by default."""
    with in_memory({"score": model}) as backend:
        signature = baseline.built.signatures["score"]
        return run_backend(backend, "score", signature, rows_of(baseline.feeds, slice(rows)), rows=64)["score"]
