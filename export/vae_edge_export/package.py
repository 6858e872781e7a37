"""Manifest and members to the bytes of a bundle."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from vae_edge_runtime import __version__
from vae_edge_runtime.manifest import (
    SCHEMA_VERSION,
    Calibration,
    Golden,
    GraphSpec,
    InputSpec,
    LatentSpec,
    Manifest,
    MemberSpec,
    ModelCard,
    Parity,
    Preprocessing,
    Requirements,
    ScoreSpec,
    TensorSpec,
    Variant,
    Verdict,
)

from .config import ExportConfig
from .parity import INPUT, OUTPUTS
from .trace import IR_VERSION, OPSET
from .weights import SplitGraphs

_OLDEST_ONNXRUNTIME = "1.17"


def golden_vectors(
    precision: str, x: NDArray[Any], outputs: Mapping[str, Mapping[str, NDArray[Any]]]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Members of the golden rows of one variant, and "graph.output" to member name."""
    members = {"golden/input.bin": _little_endian(x)}
    expected = {}
    for graph, by_name in outputs.items():
        for name, array in by_name.items():
            member = f"golden/{precision}/{graph}.{name}.bin"
            members[member] = _little_endian(array)
            expected[f"{graph}.{name}"] = member
    return members, expected


def variant_spec(
    precision: Any,
    graphs: SplitGraphs,
    tensors: Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]],
    parity: dict[str, Parity],
    verdict: Verdict,
    calibration: Calibration,
) -> Variant:
    """The manifest's entry of one variant."""
    specs = {}
    for graph, parts in graphs.parts.items():
        raw = graphs.joined(graph)
        inputs, outputs = tensors[graph]
        specs[graph] = GraphSpec(parts, len(raw), hashlib.sha256(raw).hexdigest(), inputs, outputs)
    return Variant(precision, specs, parity, verdict, calibration)


def tensor_specs(
    row: InputSpec, latent: tuple[int, ...], output: TensorSpec
) -> dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]:
    """Inputs and outputs of each graph."""
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "x": (row.dtype, row.shape),
        "z": ("float32", latent),
        "mean": ("float32", latent),
        "logvar": ("float32", latent),
        "x_hat": (output.dtype, output.shape),
        "map": ("float32", row.shape),
    }
    spec = {n: TensorSpec(n, *shapes.get(n, ("float32", ()))) for g in OUTPUTS for n in (INPUT[g], *OUTPUTS[g])}
    return {g: ((spec[INPUT[g]],), tuple(spec[n] for n in OUTPUTS[g])) for g in OUTPUTS}


def manifest(
    config: ExportConfig,
    *,
    row: InputSpec,
    latent_shape: tuple[int, ...],
    output: TensorSpec,
    pair: str,
    variants: dict[str, Variant],
    golden: Golden,
    members: Mapping[str, bytes],
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
        },
        input=row,
        preprocessing=Preprocessing(tuple(map(float, config.offset)), tuple(map(float, config.scale))),
        latent=LatentSpec(latent_shape, "gaussian", "standard_normal"),
        output=output,
        score=ScoreSpec(
            config.likelihood, config.variance, float(config.reconstruction_weight), float(config.kl_weight)
        ),
        variants=variants,
        golden=golden,
        requires=Requirements(SCHEMA_VERSION, OPSET, IR_VERSION, _OLDEST_ONNXRUNTIME),
        members={name: MemberSpec(len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in sorted(members.items())},
    )


def _little_endian(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
