"""``bundle.json`` and ``bundle.h``: what a program in any language needs beside the graphs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.format.bundle import Bundle
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import Calibration
from vae_edge_runtime.format.specs import TensorSpec
from vae_edge_runtime.statistics.conformal import ScoreSketch

from .graphs import InputForm, describe, tensors_of

DOCUMENT = 1
"""Version of ``bundle.json``."""


def document(
    bundle: Bundle, variant: str, form: InputForm, files: Mapping[str, bytes], golden: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of ``bundle.json``, as plain values.

    Args:
        bundle: open.
        variant: name of the variant that is unpacked.
        form: of the input.
        files: the ONNX files by name of the graph.
        golden: one entry per array: graph, name, role, file, dtype, shape, tolerance.
    """
    m = bundle.manifest
    own = m.variants[variant]

    def tensor(t: TensorSpec) -> dict[str, Any]:
        return {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "meaning": describe(t, form, m)}

    graphs = {}
    for name, raw in files.items():
        inputs, outputs = tensors_of(own.graphs[name], form, m)
        graphs[name] = {"file": f"{name}.onnx", "size_bytes": len(raw),
                        "inputs": [tensor(t) for t in inputs], "outputs": [tensor(t) for t in outputs]}  # fmt: skip
    row = m.input
    calibrations = dict(own.channels) | ({m.score.heads[0]: own.calibration} if own.calibration else {})
    return {
        "document_version": DOCUMENT,
        "bundle_id": bundle.bundle_id,
        "pair_id": m.pair_id,
        "release": m.release,
        "model": dataclasses.asdict(m.model),
        "made_with": m.made_with,
        "variant": variant,
        "precision": own.precision,
        "input_form": form,
        "input": {"unit": "data units, as the model's maker had them", "low": row.low, "high": row.high,
                  "names": list(row.names), "layout": "nchw" if form == "float32-nchw" else row.layout},
        "condition": None if m.condition is None else dataclasses.asdict(m.condition),
        "latent": {"kind": m.latent.kind, "shape": list(m.latent.shape), "codebook": m.latent.codebook,
                   "prior": m.latent.prior.kind},
        "graphs": graphs,
        "exported_for": m.purpose,
        "score": None if "score" not in graphs else {"unit": m.score.unit, "is_anomaly": "score > threshold",
                  "p_value": "(1 + count) / (n + 1); count is above[i] of the largest points.score[i] < score, or n"},
        "heads": [_head(bundle, variant, head, calibrations.get(head)) for head in m.score.heads if "score" in graphs],
        "stream": None if m.stream is None else dataclasses.asdict(m.stream),
        "golden": golden,
        "requires": dataclasses.asdict(m.requires),
    }  # fmt: skip


def _head(bundle: Bundle, variant: str, head: str, calibration: Calibration | None) -> dict[str, Any]:
    own = bundle.manifest.variants[variant]
    place = {"score": "score.onnx", "sampled": "sampled.onnx"}.get(HEADS[head].computed, HEADS[head].computed)
    named = "score" if head == bundle.manifest.score.heads[0] else head
    made: dict[str, Any] = {"name": head, "output": named, "computed": place, "help": HEADS[head].help}
    if HEADS[head].computed == "p_values":
        made["parts"] = list(bundle.manifest.score.parts)
    if head == "mahalanobis":
        made["statistics"] = "latent_statistics.bin"
    if head == "typicality":
        made["typical_score"] = own.typical_score
    if calibration is not None:
        sketch = ScoreSketch.from_bytes(bundle.read(calibration.member), n=calibration.n)
        made |= {
            "threshold": calibration.threshold,
            "false_positive_rate": calibration.false_positive_rate,
            "source": calibration.source,
            "tail": None if calibration.tail is None else dataclasses.asdict(calibration.tail),
            "n": calibration.n,
            "points": {"score": [float(v) for v in sketch.values], "above": sketch.above.tolist()},
        }
    return made


def c_header(said: Mapping[str, Any]) -> str:
    """``bundle.h``: the same figures as C constants; C99 and C++ take it."""
    lines = [
        "/* Made by vae-edge unpack: the figures of one bundle. bundle.json holds them all. */",
        "#ifndef VAE_EDGE_BUNDLE_H", "#define VAE_EDGE_BUNDLE_H", "",
        "#ifdef __cplusplus", "#include <cstdint>", "#else", "#include <stdint.h>", "#endif", "",
        *(f"#define VAE_{key.upper()} {_c(said[key])}" for key in ("bundle_id", "pair_id", "release", "variant")),
        f"#define VAE_MODEL_NAME {_c(said['model']['name'])}",
        f"#define VAE_INPUT_LOW {_c(said['input']['low'])}", f"#define VAE_INPUT_HIGH {_c(said['input']['high'])}",
    ]  # fmt: skip
    for graph, spec in said["graphs"].items():
        lines += ["", f"#define {_name(graph, 'FILE')} {_c(spec['file'])}"]
        for tensor in (*spec["inputs"], *spec["outputs"]):
            lines += [
                f"/* {tensor['meaning'].replace('*', ' ').replace('?', ' ')} */",
                f"#define {_name(graph, tensor['name'], 'RANK')} {len(tensor['shape']) + 1}",
                f"#define {_name(graph, tensor['name'], 'ELEMENTS')} {int(np.prod(tensor['shape'], dtype=np.int64))}",
            ]
    for head in said["heads"]:
        if "points" not in head:
            continue
        prefix, points = _name("HEAD", head["name"]), head["points"]
        lines += [
            "",
            f"#define {prefix}_THRESHOLD {_c(head['threshold'])}",
            f"#define {prefix}_FALSE_POSITIVE_RATE {_c(head['false_positive_rate'])}",
            f"#define {prefix}_CALIBRATION_ROWS {head['n']}",
            f"#define {prefix}_POINTS {len(points['score'])}",
            f"static const float {prefix}_SCORES[] = {{",
            *_wrapped([f"{_c(float(v))}f" for v in points["score"]]),
            "};",
            f"static const uint32_t {prefix}_ABOVE[] = {{",
            *_wrapped([f"{n}u" for n in points["above"]]),
            "};",
        ]
    return "\n".join([*lines, "", "#endif", ""])


def _c(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps("".join(c if 32 <= ord(c) < 127 and c != "?" else "_" for c in value))
    text = repr(value)
    return text if isinstance(value, int) or "." in text or "e" in text else f"{text}.0"


def _name(*parts: str) -> str:
    return "VAE_" + re.sub(r"[^A-Z0-9]", "_", "_".join(parts).upper())


def _wrapped(numbers: list[str], each: int = 6) -> list[str]:
    return ["  " + ", ".join(numbers[at : at + each]) + "," for at in range(0, len(numbers), each)]


def entry(graph: str, name: str, role: str, array: NDArray[Any], tolerance: float | None) -> dict[str, Any]:
    """What ``bundle.json`` says of one golden array."""
    made = {"graph": graph, "name": name, "role": role, "file": f"golden/{graph}.{name}.bin",
            "dtype": array.dtype.name, "shape": list(array.shape)}  # fmt: skip
    return made if tolerance is None else made | {"tolerance_relative": tolerance}
