"""Where the time of a call goes inside the engine: ONNX Runtime's own times per node."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from speed_models import Subject

from vae_edge_runtime import Bundle

_PRODUCTS = ("Gemm", "MatMul", "Conv")
_MOVES = (
    "Reorder", "Transpose", "Reshape", "Slice", "Concat", "DepthToSpace", "Upsample", "Resize", "Shape", "Cast",
    "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip
_RUNS, _DROPPED = 24, 4


def node_times(subject: Subject, folder: Path) -> list[dict[str, Any]]:
    """Per variant, graph and batch, one thread: ms of the nodes of a run, and the shares of three kinds of them.

    ``products``: layers, with the activations they take in. ``moves``: nodes that only move or convert elements.
    ``rest``: elementwise, norms, sums. ``most``: the three operators that take most.
    """
    found = []
    with Bundle.open(folder / f"{subject.name}.vaeb") as bundle:
        row = bundle.manifest.input
        for variant in subject.variants:
            for graph, output in (("score", "score"), ("decode", "x_hat")):
                model = bundle.graph(variant, graph)
                for batch in (1, subject.batch):
                    rng = np.random.default_rng(6)
                    z = rng.standard_normal((batch, *subject.latent), np.float32)
                    feeds = {"z": z} if graph == "decode" else {"x": subject.rows(True, batch, rng).astype(row.dtype)}
                    by_kind = _by_kind(model, feeds, output)
                    total = sum(by_kind.values())
                    products = sum(us for kind, us in by_kind.items() if _is(kind, _PRODUCTS))
                    moves = sum(us for kind, us in by_kind.items() if _is(kind, _MOVES) and not _is(kind, _PRODUCTS))
                    most = sorted(by_kind, key=lambda kind: -by_kind[kind])[:3]
                    found.append(
                        {
                            "variant": variant, "graph": graph, "batch": batch, "ms": total / 1e3,
                            "products": products / total, "moves": moves / total,
                            "rest": 1 - (products + moves) / total,
                            "most": {kind: by_kind[kind] / total for kind in most},
                        }
                    )  # fmt: skip
    return found


def _is(kind: str, parts: tuple[str, ...]) -> bool:
    """Whether an operator is of a kind; ConvTranspose is a layer although it ends like Transpose."""
    return any(part in kind for part in parts)


def _by_kind(model: bytes, feeds: dict[str, Any], output: str) -> dict[str, float]:
    """Microseconds of a run per operator: medians of every node, added up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as place:
        options.profile_file_prefix = str(Path(place) / "nodes")
        session = onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run([output], feeds)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times.setdefault((event["args"]["op_name"], event["name"]), []).append(event["dur"])
    found: dict[str, float] = {}
    for (kind, _), durations in times.items():
        found[kind] = found.get(kind, 0.0) + float(np.median(durations[_DROPPED:]))
    return found
