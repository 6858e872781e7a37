"""A real bundle of about 5 kB: linear graphs over 4 features, built without torch."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vae_edge_runtime import __version__
from vae_edge_runtime.format import archive
from vae_edge_runtime.format.manifest import (
    SCHEMA_VERSION,
    Calibration,
    Golden,
    GraphSpec,
    Manifest,
    MemberSpec,
    Variant,
)
from vae_edge_runtime.format.specs import (
    InputSpec,
    LatentSpec,
    ModelCard,
    Preprocessing,
    PriorSpec,
    Requirements,
    ScoreSpec,
    TensorSpec,
)

FEATURES, LATENT = 4, 2
_RNG = np.random.default_rng(7)
WEIGHTS = {
    "w_mean": _RNG.normal(size=(FEATURES, LATENT)).astype(np.float32),
    "w_logvar": _RNG.normal(size=(FEATURES, LATENT)).astype(np.float32) / 4,
    "w_out": _RNG.normal(size=(LATENT, FEATURES)).astype(np.float32),
    "b_out": _RNG.normal(size=FEATURES).astype(np.float32),
}
PAIR = hashlib.sha256(b"".join(WEIGHTS[name].tobytes() for name in sorted(WEIGHTS))).hexdigest()[:32]
ENCODE_WEIGHTS, DECODE_WEIGHTS = ("w_mean", "w_logvar"), ("w_out", "b_out")

X = TensorSpec("x", "float32", (FEATURES,))
Z = TensorSpec("z", "float32", (LATENT,))
MEAN, LOGVAR = TensorSpec("mean", "float32", (LATENT,)), TensorSpec("logvar", "float32", (LATENT,))
X_HAT = TensorSpec("x_hat", "float32", (FEATURES,))
SCORES = tuple(TensorSpec(name, "float32", ()) for name in ("score", "reconstruction", "kl"))
MAP = TensorSpec("map", "float32", (FEATURES,))

_ENCODE = [
    helper.make_node("MatMul", ["x", "w_mean"], ["mean"]),
    helper.make_node("MatMul", ["x", "w_logvar"], ["logvar"]),
]
_DECODE = [
    helper.make_node("MatMul", ["z", "w_out"], ["h"]),
    helper.make_node("Add", ["h", "b_out"], ["x_hat"]),
]
_SCORE = [
    *_ENCODE,
    helper.make_node("Identity", ["mean"], ["z"]),
    *_DECODE,
    helper.make_node("Sub", ["x", "x_hat"], ["difference"]),
    helper.make_node("Mul", ["difference", "difference"], ["map"]),
    helper.make_node("Constant", [], ["last"], value_ints=[1]),
    helper.make_node("ReduceSum", ["map", "last"], ["reconstruction"], keepdims=0),
    helper.make_node("Mul", ["mean", "mean"], ["squared"]),
    helper.make_node("Exp", ["logvar"], ["var"]),
    helper.make_node("Add", ["squared", "var"], ["sum"]),
    helper.make_node("Sub", ["sum", "logvar"], ["kl_terms"]),
    helper.make_node("ReduceSum", ["kl_terms", "last"], ["kl"], keepdims=0),
    helper.make_node("Add", ["reconstruction", "kl"], ["score"]),
]
GRAPHS: dict[str, tuple[list[onnx.NodeProto], tuple[TensorSpec, ...], tuple[TensorSpec, ...], tuple[str, ...]]] = {
    "encode": (_ENCODE, (X,), (MEAN, LOGVAR), ("fp32/encoder.weights",)),
    "decode": (_DECODE, (Z,), (X_HAT,), ("fp32/decoder.weights",)),
    "score": (_SCORE, (X,), (*SCORES, MAP), ("fp32/encoder.weights", "fp32/decoder.weights")),
}


def value_info(tensor: TensorSpec) -> onnx.ValueInfoProto:
    kind = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}[tensor.dtype]
    return helper.make_tensor_value_info(tensor.name, kind, ["batch", *tensor.shape])


def model(nodes: list[onnx.NodeProto], inputs: Any, outputs: Any, initializers: Any = ()) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [value_info(t) for t in inputs], [value_info(t) for t in outputs], initializers
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    made.metadata_props.add(key="vae_edge.pair_id", value=PAIR)
    return made


def weights(names: tuple[str, ...]) -> bytes:
    """A model that holds initializers and nothing else."""
    part = onnx.ModelProto()
    part.graph.initializer.extend(numpy_helper.from_array(WEIGHTS[name], name) for name in names)
    return part.SerializeToString()


def forward(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same model in numpy, float64."""
    w = {name: value.astype(np.float64) for name, value in WEIGHTS.items()}
    mean, logvar = x @ w["w_mean"], x @ w["w_logvar"]
    x_hat = mean @ w["w_out"] + w["b_out"]
    squares = (x - x_hat) ** 2
    kl = (mean**2 + np.exp(logvar) - logvar).sum(1)
    found = {"mean": mean, "logvar": logvar, "x_hat": x_hat, "map": squares, "reconstruction": squares.sum(1), "kl": kl}
    return found | {"score": found["reconstruction"] + kl}


def open_descriptors() -> int:
    """How many files this process has open, once garbage has let go of its own."""
    gc.collect()
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


def member_spec(data: bytes) -> MemberSpec:
    return MemberSpec(len(data), hashlib.sha256(data).hexdigest())


@dataclass
class TinyBundle:
    """Members and manifest of one bundle; change either, then ``write``."""

    path: Path
    members: dict[str, bytes] = field(default_factory=dict)
    manifest: Manifest | None = None

    def __post_init__(self) -> None:
        if not self.members:
            self.members, self.manifest = _members_and_manifest()

    @property
    def plain(self) -> dict[str, Any]:
        """The manifest as plain JSON values, to be spoilt."""
        assert self.manifest
        return json.loads(self.manifest.to_json())  # type: ignore[no-any-return]

    def write(self, manifest: bytes | dict[str, Any] | None = None) -> Path:
        """Write the file; ``manifest`` replaces the right one, unchecked."""
        assert self.manifest
        if isinstance(manifest, dict):
            manifest = json.dumps(manifest).encode()
        raw = self.manifest.to_json() if manifest is None else manifest
        self.path.write_bytes(archive.encode({**self.members, "manifest.json": raw}))
        return self.path

    def replace_member(self, name: str, data: bytes) -> dict[str, Any]:
        """Swap one member and say so everywhere in the returned manifest."""
        self.members[name] = data
        plain = self.plain
        plain["members"][name] = dataclasses.asdict(member_spec(data))
        for variant in plain["variants"].values():
            for spec in variant["graphs"].values():
                joined = b"".join(self.members[part] for part in spec["parts"])
                spec |= dataclasses.asdict(member_spec(joined))
        return plain


def _members_and_manifest() -> tuple[dict[str, bytes], Manifest]:
    members = {"fp32/encoder.weights": weights(ENCODE_WEIGHTS), "fp32/decoder.weights": weights(DECODE_WEIGHTS)}
    graphs = {}
    for name, (nodes, inputs, outputs, parts) in GRAPHS.items():
        members[f"fp32/{name}.onnx"] = model(nodes, inputs, outputs).SerializeToString()
        joined = b"".join(members[part] for part in (f"fp32/{name}.onnx", *parts))
        spec = member_spec(joined)
        graphs[name] = GraphSpec((f"fp32/{name}.onnx", *parts), spec.size_bytes, spec.sha256, inputs, outputs)

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(2, FEATURES)).astype(np.float32)
    expected = forward(rows)
    members["golden/input.bin"] = rows.tobytes()
    golden = {}
    for key in ("encode.mean", "encode.logvar", "decode.x_hat", "score.score"):
        golden[key] = f"golden/fp32.{key}.bin"
        members[golden[key]] = expected[key.split(".")[1]].astype("<f4").tobytes()

    scores = np.sort(forward(rng.normal(size=(20, FEATURES)).astype(np.float32))["score"].astype("<f4"))
    above = (20 - np.searchsorted(scores, scores, side="right")).astype("<u4")
    members["fp32/calibration.bin"] = scores.tobytes() + above.tobytes()
    calibration = Calibration(20, 0.1, float(scores[-2]), 20, "fp32/calibration.bin", "conformal", None, 1.0)
    manifest = Manifest(
        format="vae-edge-bundle",
        schema_version=SCHEMA_VERSION,
        model=ModelCard("tiny", "1", "CC0-1.0", "", "linear, for tests", {"auroc": 0.5}),
        release=1,
        pair_id=PAIR,
        made_with={"vae_edge": __version__, "onnx": onnx.__version__},
        input=InputSpec((FEATURES,), "float32", "features", -4.0, 4.0, ("a", "b", "c", "d")),
        condition=None,
        preprocessing=Preprocessing((0.0,), (1.0,)),
        latent=LatentSpec(
            (LATENT,), "gaussian", PriorSpec("standard_normal", "of the model", 0, None), (), 0.0, 1.0, 0, ()
        ),
        output=X_HAT,
        score=ScoreSpec("mse", None, 1.0, 1.0, "identity", ("elbo",), 0.01, 0, 0.0, ()),
        stream=None,
        fit=None,
        compression=None,
        variants={"fp32": Variant("fp32", None, None, graphs, {}, None, calibration, {}, None, None, {})},
        golden=Golden(2, "golden/input.bin", None, {"fp32": golden}, {"fp32": dict.fromkeys(golden, 1e-5)}),
        requires=Requirements(SCHEMA_VERSION, 18, 10, "1.17"),
        members={name: member_spec(data) for name, data in members.items()},
    )
    return members, manifest
