"""Bundles that a reader must refuse, each made from the small linear one, with the error that it is refused by."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from tiny_bundle import GRAPHS, SCORES, TinyBundle, model, weights

from vae_edge_runtime.format import archive, strict_json
from vae_edge_runtime.format.manifest import SCHEMA_VERSION

Plain = dict[str, Any]


def sound() -> bytes:
    """The bundle in which nothing is wrong."""
    return _packed(_tiny())


def broken() -> Iterator[tuple[str, str, bytes]]:
    """Name, error and bytes of each."""
    good = sound()
    for name, error, change in _BYTES:
        yield name, error, change(good)
    for name, error, change_plain in _MANIFESTS:
        tiny = _tiny()
        plain = tiny.plain
        yield name, error, _packed(tiny, change_plain(plain) or plain)
    for name, error, nodes, options in _GRAPHS:
        tiny = _tiny()
        made = _score_graph(nodes, **options)
        yield name, error, _packed(tiny, tiny.replace_member("fp32/score.onnx", made))
    tiny = _tiny()
    yield "member-unlisted", "BundleInvalid", archive.encode({**_members(tiny), "extra.bin": b"1"})
    without = _members(tiny)
    del without["golden/input.bin"]
    yield "member-missing", "BundleInvalid", archive.encode(without)
    other = {**_members(tiny), "golden/input.bin": bytes(32)}
    yield "member-of-other-bytes", "BundleCorrupt", archive.encode(other)
    shorter = {**_members(tiny), "golden/input.bin": bytes(31)}
    yield "member-of-other-size", "BundleInvalid", archive.encode(shorter)


def _tiny() -> TinyBundle:
    return TinyBundle(Path("unused"))


def _members(tiny: TinyBundle) -> dict[str, bytes]:
    assert tiny.manifest
    return {**tiny.members, "manifest.json": tiny.manifest.to_json()}


def _packed(tiny: TinyBundle, manifest: bytes | Plain | None = None) -> bytes:
    members = _members(tiny)
    if manifest is not None:
        members["manifest.json"] = strict_json.dump(manifest) if isinstance(manifest, dict) else manifest
    return archive.encode(members)


def _repacked(good: bytes, method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), old.read(name), method)
    return out.getvalue()


def _flipped(good: bytes, at: int) -> bytes:
    return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]


def _inside(good: bytes, member: str) -> int:
    """Where the data of a member begins."""
    with zipfile.ZipFile(io.BytesIO(good)) as opened:
        info = opened.getinfo(member)
    name, extra = struct.unpack_from("<2H", good, info.header_offset + 26)
    return info.header_offset + 30 + int(name) + int(extra)


def _counted(good: bytes, members: int) -> bytes:
    end = len(good) - 22
    return good[: end + 8] + struct.pack("<2H", members, members) + good[end + 12 :]


_BYTES: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("empty", "BundleCorrupt", lambda good: b""),
    ("text", "BundleCorrupt", lambda good: b"this is no bundle, and longer than an end record\n"),
    ("cut-in-half", "BundleCorrupt", lambda good: good[: len(good) // 2]),
    ("last-byte-missing", "BundleCorrupt", lambda good: good[:-1]),
    ("byte-appended", "BundleCorrupt", lambda good: good + b"\0"),
    ("byte-in-front", "BundleCorrupt", lambda good: b"\0" + good),
    ("repacked-stored", "BundleCorrupt", lambda good: _repacked(good, zipfile.ZIP_STORED)),
    ("repacked-deflated", "BundleCorrupt", lambda good: _repacked(good, zipfile.ZIP_DEFLATED)),
    ("comment", "BundleCorrupt", lambda good: good[:-2] + b"\x01\x00!"),
    ("more-members-than-the-limit", "BundleInvalid", lambda good: _counted(good, 4097)),
    ("flipped-in-manifest", "BundleCorrupt", lambda good: _flipped(good, _inside(good, "manifest.json") + 9)),
    ("flipped-in-weights", "BundleCorrupt", lambda good: _flipped(good, _inside(good, "fp32/encoder.weights") + 40)),
    ("flipped-in-golden", "BundleCorrupt", lambda good: _flipped(good, _inside(good, "golden/input.bin") + 3)),
    ("flipped-in-header", "BundleCorrupt", lambda good: _flipped(good, 10)),
    ("flipped-in-padding", "BundleCorrupt", lambda good: _flipped(good, _inside(good, "manifest.json") - 1)),
    ("zip-without-manifest", "BundleInvalid", lambda good: good.replace(b"manifest.json", b"manifesu.json")),
    ("member-name-twice", "BundleInvalid", lambda good: good.replace(b"score.score.bin", b"encode.mean.bin")),
    ("member-name-upper-case", "BundleInvalid", lambda good: good.replace(b"golden/input.bin", b"golden/Input.bin")),
    ("member-name-climbs", "BundleInvalid", lambda good: good.replace(b"golden/input.bin", b"../den/input.bin")),
    ("member-name-of-a-device", "BundleInvalid", lambda good: good.replace(b"golden/input.bin", b"golden/con.input")),
)


def _set(*path_and_value: Any) -> Callable[[Plain], None]:
    *path, key, value = path_and_value

    def change(plain: Plain) -> None:
        for step in path:
            plain = plain[step]
        plain[key] = value

    return change


def _text(old: str, new: str) -> Callable[[Plain], Any]:
    """Replace text of the manifest's JSON, once."""

    def change(plain: Plain) -> Any:
        text = strict_json.dump(plain).decode()
        assert old in text
        return text.replace(old, new, 1).encode()

    return change


def _without(*path: str) -> Callable[[Plain], None]:
    def change(plain: Plain) -> None:
        for step in path[:-1]:
            plain = plain[step]
        del plain[path[-1]]

    return change


_MANIFESTS: tuple[tuple[str, str, Callable[[Plain], Any]], ...] = (
    ("unknown-key", "BundleInvalid", _set("surprise", 1)),
    ("unknown-key-inside", "BundleInvalid", _set("variants", "fp32", "surprise", None)),
    ("missing-key", "BundleInvalid", _without("latent")),
    ("missing-key-inside", "BundleInvalid", _without("variants", "fp32", "graphs", "score", "sha256")),
    ("true-for-a-number", "BundleInvalid", _set("release", True)),
    ("fraction-for-a-whole-number", "BundleInvalid", _set("release", 1.0)),
    ("null-where-it-may-not-be", "BundleInvalid", _set("input", None)),
    ("text-for-a-list", "BundleInvalid", _set("score", "heads", "elbo")),
    ("unknown-word", "BundleInvalid", _set("latent", "kind", "flow")),
    ("unknown-head", "BundleInvalid", _set("score", "heads", ["elbo", "psychic"])),
    ("key-twice", "BundleInvalid", _text('"release": 1', '"release": 1, "release": 1')),
    ("key-twice-deep", "BundleInvalid", _text('"rows": 2', '"rows": 2, "r\\u006fws": 2')),
    ("nan", "BundleInvalid", _text('"scale": 1.0', '"scale": NaN')),
    ("infinity", "BundleInvalid", _text('"scale": 1.0', '"scale": Infinity')),
    ("number-that-overflows", "BundleInvalid", _text('"scale": 1.0', '"scale": 1e999')),
    ("number-of-65-characters", "BundleInvalid", _text('"scale": 1.0', '"scale": 1.' + "0" * 63)),
    ("integer-beyond-64-bits", "BundleInvalid", _set("release", 1 << 63)),
    ("integer-too-long-for-a-float", "BundleInvalid", _set("latent", "scale", 1 << 53)),
    ("leading-zero", "BundleInvalid", _text('"release": 1', '"release": 01')),
    ("comma-at-the-end", "BundleInvalid", _text('"rows": 2', '"rows": 2,')),
    ("not-utf-8", "BundleInvalid", lambda plain: b"\xff" + strict_json.dump(plain)),
    ("byte-order-mark", "BundleInvalid", lambda plain: b"\xef\xbb\xbf" + strict_json.dump(plain)),
    ("nothing-but-null", "BundleInvalid", lambda plain: b"null"),
    ("a-list", "BundleInvalid", lambda plain: b"[]"),
    ("text-after-the-end", "BundleInvalid", lambda plain: strict_json.dump(plain) + b" {}"),
    ("nested-17-deep", "BundleInvalid", _text('"release": 1', '"release": ' + "[" * 16 + "]" * 16)),
    ("escape-sequence-in-a-name", "BundleInvalid", _set("model", "name", "tiny\x1b[2J")),
    ("half-a-surrogate-pair", "BundleInvalid", _text('"tiny"', '"tiny\\ud800"')),
    ("raw-newline-in-a-text", "BundleInvalid", _text('"tiny"', '"ti\nny"')),
    ("empty-name", "BundleInvalid", _set("model", "name", " ")),
    ("other-format", "BundleInvalid", _set("format", "zip")),
    ("newer-schema-version", "BundleTooNew", _set("schema_version", SCHEMA_VERSION + 1)),
    ("schema-version-0", "BundleInvalid", _set("schema_version", 0)),
    ("newer-runtime-schema", "BundleTooNew", _set("requires", "runtime_schema", SCHEMA_VERSION + 1)),
    ("opset-19", "BundleTooNew", _set("requires", "opset", 19)),
    ("ir-version-11", "BundleTooNew", _set("requires", "ir_version", 11)),
    ("onnxruntime-no-version", "BundleInvalid", _set("requires", "onnxruntime", "newest")),
    ("too-new-with-unknown-keys", "BundleTooNew", lambda plain: plain.update(schema_version=99, surprise=1)),
    ("release-0", "BundleInvalid", _set("release", 0)),
    ("pair-id-in-upper-case", "BundleInvalid", _set("pair_id", "A" * 32)),
    ("writer-unknown", "BundleInvalid", _set("made_with", {})),
    ("no-variant", "BundleInvalid", _set("variants", {})),
    ("shape-of-six-axes", "BundleInvalid", _set("input", "shape", [4, 1, 1, 1, 1, 1])),
    ("shape-with-a-zero", "BundleInvalid", _set("input", "shape", [0])),
    ("layout-and-shape-disagree", "BundleInvalid", _set("input", "layout", "nhwc")),
    ("low-above-high", "BundleInvalid", _set("input", "low", 5.0)),
    ("scale-0", "BundleInvalid", _set("preprocessing", "scale", [0.0])),
    ("sha256-too-short", "BundleInvalid", _set("variants", "fp32", "graphs", "score", "sha256", "0" * 63)),
    ("sha256-of-another-file", "BundleCorrupt", _set("variants", "fp32", "graphs", "score", "sha256", "0" * 64)),
    ("member-hash-of-another-file", "BundleCorrupt", _set("members", "golden/input.bin", "sha256", "0" * 64)),
    ("parts-do-not-add-up", "BundleInvalid", _set("variants", "fp32", "graphs", "score", "size_bytes", 1)),
    ("output-of-another-name", "BundleInvalid",
     _set("variants", "fp32", "graphs", "decode", "outputs", 0, "name", "y")),
    ("kl-without-a-posterior", "BundleInvalid", _set("latent", "kind", "deterministic")),
    ("rate-1", "BundleInvalid", _set("variants", "fp32", "calibration", "false_positive_rate", 1)),
    ("more-points-than-rows", "BundleInvalid", _set("variants", "fp32", "calibration", "n", 19)),
    ("golden-output-that-is-none", "BundleInvalid",
     _set("golden", "tolerance_relative", "fp32", {"score.surprise": 1e-5})),
    ("golden-rows-0", "BundleInvalid", _set("golden", "rows", 0)),
    ("draws-without-a-head", "BundleInvalid", _set("score", "draws", 4)),
    ("groups-that-do-not-fit", "BundleInvalid", _set("latent", "groups", [[3]])),
)  # fmt: skip


def _score_graph(nodes: list[onnx.NodeProto], *, change: Callable[[onnx.ModelProto], None] | None = None) -> bytes:
    """The skeleton of the graph ``score`` with further nodes at its end."""
    old, inputs, outputs, _ = GRAPHS["score"]
    made = model([*old, *nodes], inputs, outputs)
    if change:
        change(made)
    return made.SerializeToString()


def _constant(name: str, values: list[int]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value_ints=values)


def _external(made: onnx.ModelProto) -> None:
    tensor = made.graph.initializer.add(name="far", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _initializer_twice(made: onnx.ModelProto) -> None:
    made.MergeFromString(weights(("w_mean",)))


def _weight_as_input(made: onnx.ModelProto) -> None:
    made.graph.input.add().CopyFrom(helper.make_tensor_value_info("w_mean", TensorProto.FLOAT, [4, 2]))


def _node(op: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, ["extra"], **attributes)


_EMPTY = helper.make_graph([], "inner", [], [])
_GRAPHS: tuple[tuple[str, str, list[onnx.NodeProto], dict[str, Any]], ...] = (
    ("graph-of-another-model", "PairMismatch", [],
     {"change": lambda m: m.metadata_props[0].__setattr__("value", "0" * 32)}),
    ("graph-without-a-model", "PairMismatch", [], {"change": lambda m: m.ClearField("metadata_props")}),
    ("graph-ir-version-11", "GraphRefused", [], {"change": lambda m: m.__setattr__("ir_version", 11)}),
    ("graph-opset-16", "GraphRefused", [], {"change": lambda m: m.opset_import[0].__setattr__("version", 16)}),
    ("graph-opset-19", "GraphRefused", [], {"change": lambda m: m.opset_import[0].__setattr__("version", 19)}),
    ("graph-two-opsets", "GraphRefused", [], {"change": lambda m: m.opset_import.add(domain="", version=18)}),
    ("graph-training", "GraphRefused", [], {"change": lambda m: m.training_info.add()}),
    ("graph-functions", "GraphRefused", [], {"change": lambda m: m.functions.add(name="f")}),
    ("graph-external-data", "GraphRefused", [], {"change": _external}),
    ("graph-initializer-twice", "GraphRefused", [], {"change": _initializer_twice}),
    ("graph-weight-as-input", "GraphRefused", [], {"change": _weight_as_input}),
    ("graph-output-renamed", "GraphRefused", [], {"change": lambda m: m.graph.output[0].__setattr__("name", "s")}),
    ("graph-fixed-batch", "GraphRefused", [],
     {"change": lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].__setattr__("dim_value", 1)}),
    ("graph-random", "GraphRefused", [_node("RandomNormalLike", ["x"])], {}),
    ("graph-control-flow", "GraphRefused", [_node("If", ["x"], then_branch=_EMPTY, else_branch=_EMPTY)], {}),
    ("graph-custom-domain", "GraphRefused", [_node("Abs", ["x"], domain="acme")], {}),
    ("graph-subgraph-attribute", "GraphRefused", [_node("Abs", ["x"], body=_EMPTY)], {}),
    ("graph-string-tensor", "GraphRefused",
     [_node("Constant", [], value=helper.make_tensor("s", TensorProto.STRING, [1], [b"s"]))], {}),
    ("graph-nodes-out-of-order", "GraphRefused", [_node("Abs", ["later"])], {}),
    ("graph-name-made-twice", "GraphRefused", [helper.make_node("Abs", ["x"], ["mean"])], {}),
    ("graph-input-left-out", "GraphRefused", [_node("Add", ["x", ""])], {}),
    ("graph-shapes-do-not-fit", "GraphRefused", [_node("MatMul", ["x", "w_out"])], {}),
    ("graph-shape-of-the-batch", "GraphRefused", [_constant("fixed", [1, 4]), _node("Reshape", ["x", "fixed"])], {}),
    ("graph-2e9-elements", "GraphRefused", [_constant("many", [1 << 31]), _node("ConstantOfShape", ["many"])], {}),
    ("graph-repeated-2e9-times", "GraphRefused", [_constant("many", [1 << 29, 1]), _node("Tile", ["x", "many"])], {}),
    ("graph-size-from-a-row", "GraphRefused",
     [helper.make_node("Cast", ["score"], ["whole"], to=TensorProto.INT64), _node("ConstantOfShape", ["whole"])], {}),
    ("graph-index-outside", "GraphRefused", [_constant("at", [4]), _node("Gather", ["x", "at"], axis=1)], {}),
    ("graph-divides-by-0", "GraphRefused", [_constant("zero", [0]), _node("Div", ["zero", "zero"])], {}),
    ("graph-axis-outside", "GraphRefused", [_node("Softmax", ["x"], axis=17)], {}),
    ("graph-training-mode", "GraphRefused", [_node("Abs", ["x"], training_mode=1)], {}),
    ("graph-flag-2", "GraphRefused", [_node("ReduceSum", ["x"], keepdims=2)], {}),
    ("graph-empty-tensor", "GraphRefused",
     [*(_constant(n, v) for n, v in (("from", [4]), ("to", [4]), ("axis", [1]))),
      _node("Slice", ["x", "from", "to", "axis"])], {}),
    ("graph-recurrent-sizes-disagree", "GraphRefused",
     [_constant("front", [0]), helper.make_node("Unsqueeze", ["x", "front"], ["sequence"]),
      helper.make_node("Unsqueeze", ["w_out", "front"], ["w_all"]),
      _node("RNN", ["sequence", "w_all", "w_all"], hidden_size=3)], {}),
)  # fmt: skip

assert len(SCORES) == 3  # the graph ``score`` of the small bundle is that of an ELBO
