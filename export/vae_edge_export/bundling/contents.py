"""What lies in a bundle beside the weights: golden vectors, the specs of the graphs, the manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from vae_edge_runtime import __version__
from vae_edge_runtime.format.figures import FreeSize, ModelFit, SampleFigures, SizeCheck
from vae_edge_runtime.format.manifest import SCHEMA_VERSION, Golden, GraphSpec, Manifest, MemberSpec, Purpose, Variant
from vae_edge_runtime.format.sizes import Size
from vae_edge_runtime.format.specs import ModelCard, Preprocessing, PriorSpec, Requirements, Signature
from vae_edge_runtime.format.stream_rules import AlarmSpec, StreamSpec, fit_guard, longest_run
from vae_edge_runtime.free_size.rows import shown

from ..checks.size_parity import SizeFigures
from ..config import ExportConfig
from ..graphs.build import BuiltGraphs
from ..graphs.free_size import SizePlan
from ..onnx_version import IR_VERSION, OPSET
from ..rows import ExportRows
from .finished_variant import FinishedVariant, GoldenAtSize
from .split_weights import SplitGraphs

GOLDEN_INPUT, GOLDEN_CONDITION = "golden/input.bin", "golden/condition.bin"
_OLDEST_ONNXRUNTIME = "1.17"


def golden_inputs(feeds: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Members of the rows (of a decoder alone, the latents) that every variant is fed in its self-test."""
    first = next(name for name in feeds if name != "condition")
    members = {GOLDEN_INPUT: _little_endian(feeds[first])}
    if "condition" in feeds:
        members[GOLDEN_CONDITION] = _little_endian(feeds["condition"])
    return members


def golden_outputs(
    variant: str, outputs: Mapping[str, Mapping[str, NDArray[Any]]]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Members of what one variant gives for them, and "graph.output" to member name."""
    members, expected = {}, {}
    for graph, by_name in outputs.items():
        for name, array in by_name.items():
            member = f"golden/{variant}/{graph}.{name}.bin"
            members[member] = _little_endian(array)
            expected[f"{graph}.{name}"] = member
    return members, expected


def golden_at(variant: str, size: Size, figures: SizeFigures) -> tuple[dict[str, bytes], GoldenAtSize]:
    """Members of what one variant gives at another height and width, and the figures that go with them."""
    members, expected = golden_outputs(f"{variant}/{shown(size)}", figures.golden)
    return members, GoldenAtSize(figures.parity, expected, figures.tolerance)


def free_size(
    plan: SizePlan, feeds: Mapping[Size, Mapping[str, NDArray[Any]]], variants: Mapping[str, FinishedVariant]
) -> tuple[dict[str, bytes], FreeSize]:
    """Members of the golden rows of every further height and width, and what the manifest says of them.

    Args:
        feeds: the golden rows per size.
    """
    members, checks = {}, []
    for size in plan.others:
        member = f"golden/{shown(size)}/input.bin"
        members[member] = _little_endian(feeds[size]["x"])
        by_variant = {name: variant.sizes[size] for name, variant in variants.items()}
        checks.append(
            SizeCheck(
                height=size[0],
                width=size[1],
                rows=len(feeds[size]["x"]),
                input=member,
                parity={name: each.parity for name, each in by_variant.items()},
                expected={name: each.expected for name, each in by_variant.items()},
                tolerance_relative={name: each.tolerance for name, each in by_variant.items()},
            )
        )
    return members, FreeSize(plan.multiple, plan.smallest, tuple(checks))


def graph_specs(graphs: SplitGraphs, tensors: Mapping[str, Signature]) -> dict[str, GraphSpec]:
    """The manifest's entries of the graphs of one variant."""
    specs = {}
    for graph, parts in graphs.parts.items():
        raw = graphs.joined(graph)
        inputs, outputs = tensors[graph]
        specs[graph] = GraphSpec(parts, len(raw), hashlib.sha256(raw).hexdigest(), inputs, outputs)
    return specs


def manifest(
    built: BuiltGraphs,
    rows: ExportRows,
    config: ExportConfig,
    *,
    fit: ModelFit | None,
    prior: PriorSpec,
    pair: str,
    variants: dict[str, Variant],
    golden: Golden,
    members: Mapping[str, bytes],
    exporters: Iterable[str],
    free_size: FreeSize | None = None,
    purpose: Purpose = "scoring",
    samples: SampleFigures | None = None,
) -> Manifest:
    """The manifest of a bundle; its own checks run as it is built."""
    return Manifest(
        format="vae-edge-bundle",
        schema_version=SCHEMA_VERSION,
        model=ModelCard(
            name=config.name,
            version=config.version,
            licence=config.licence,
            source=config.source,
            description=config.description,
            metrics={key: float(value) for key, value in config.metrics.items()},
        ),
        release=config.release,
        pair_id=pair,
        made_with={
            "vae_edge": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": version("onnxruntime"),
            "onnxscript": version("onnxscript"),
            "python": platform.python_version(),
            "exporter": ", ".join(sorted(set(exporters))),
        },
        input=rows.row,
        condition=rows.condition,
        preprocessing=Preprocessing(tuple(map(float, config.offset)), tuple(map(float, config.scale))),
        latent=dataclasses.replace(built.latent, prior=prior),
        output=built.signatures["decode"].outputs[0],
        score=built.score,
        stream=_stream_rules(rows, config) if purpose == "scoring" else None,
        fit=fit,
        compression=None,
        variants=variants,
        golden=golden,
        requires=Requirements(SCHEMA_VERSION, OPSET, IR_VERSION, _OLDEST_ONNXRUNTIME),
        members={name: MemberSpec(len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in sorted(members.items())},
        free_size=free_size,
        purpose=purpose,
        samples=samples,
    )


def _stream_rules(rows: ExportRows, config: ExportConfig) -> StreamSpec:
    """Limits of the input guard from the calibration rows, and when an anomaly is an alarm."""
    stuck_rows = longest_run(rows.calibration["x"], rows.row) if config.stuck_rows is None else config.stuck_rows
    guard = fit_guard(
        rows.calibration["x"],
        rows.row,
        margin=config.guard_margin,
        stuck_rows=stuck_rows,
        saturated_rows=stuck_rows,
        period_s=config.period_s,
    )
    return StreamSpec(guard, config.alarm or AlarmSpec(1, 1, 1, config.false_positive_rate, 0))


def _little_endian(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
