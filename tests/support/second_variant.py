"""A second variant for a tiny bundle: the same skeletons over other weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import numpy_helper
from tiny_bundle import DECODE_WEIGHTS, WEIGHTS, TinyBundle, member_spec

from vae_edge_runtime import ScoreSketch


def add_variant(tiny: TinyBundle, name: str, *, factor: float, threshold: float | None = None) -> None:
    """Add variant ``name``, its decoder's matrix ``factor`` times that of fp32, with fp32's threshold or another."""
    assert tiny.manifest
    fp32 = tiny.manifest.variants["fp32"]
    part = onnx.ModelProto()
    for key in DECODE_WEIGHTS:
        value = WEIGHTS[key] * np.float32(factor if key == "w_out" else 1.0)
        part.graph.initializer.append(numpy_helper.from_array(value, key))
    other = f"{name}/decoder.weights"
    tiny.members[other] = part.SerializeToString()
    graphs = {}
    for graph, spec in fp32.graphs.items():
        parts = tuple(other if p == "fp32/decoder.weights" else p for p in spec.parts)
        joined = b"".join(tiny.members[p] for p in parts)
        graphs[graph] = dataclasses.replace(spec, parts=parts, **dataclasses.asdict(member_spec(joined)))
    assert fp32.calibration
    calibration = fp32.calibration
    if threshold is not None:  # of the model: the rate is what the calibration scores show
        sketch = ScoreSketch.from_bytes(tiny.members[calibration.member], n=calibration.n)
        own = {"threshold": threshold, "source": "model", "false_positive_rate": sketch.rate_above(threshold)}
        calibration = dataclasses.replace(calibration, **own)
    # Its weights are fp32, whatever its name.
    variant = dataclasses.replace(fp32, graphs=graphs, calibration=calibration)
    golden = tiny.manifest.golden
    tiny.manifest = dataclasses.replace(
        tiny.manifest,
        variants={**tiny.manifest.variants, name: variant},
        golden=dataclasses.replace(
            golden,
            expected={**golden.expected, name: golden.expected["fp32"]},
            tolerance_relative={**golden.tolerance_relative, name: golden.tolerance_relative["fp32"]},
        ),
        members={**tiny.manifest.members, other: member_spec(tiny.members[other])},
    )
