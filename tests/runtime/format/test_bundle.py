from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import (
    DECODE_WEIGHTS,
    FEATURES,
    GRAPHS,
    WEIGHTS,
    X_HAT,
    TinyBundle,
    Z,
    forward,
    model,
    open_descriptors,
)

from vae_edge_runtime import (
    Bundle,
    BundleCorrupt,
    BundleError,
    BundleInvalid,
    BundleTooNew,
    GraphRefused,
    OptionError,
    SessionClosed,
)
from vae_edge_runtime.format.archive import Archive, encode
from vae_edge_runtime.format.manifest import SCHEMA_VERSION

PARTS = ["fp32/decode.onnx", "fp32/decoder.weights"]


def as_file(bundle: Bundle) -> Callable[[str, str], object]:
    """``bundle.graph_file``, entered and left at once."""

    def read(variant: str, graph: str) -> None:
        with bundle.graph_file(variant, graph):
            pass

    return read


def run(raw: bytes | str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"]).run(None, feeds)  # type: ignore[no-any-return]


def test_a_good_bundle_opens_and_every_member_is_what_was_written(tiny: TinyBundle) -> None:
    path = tiny.write()
    assert tiny.manifest
    with Bundle.open(path) as bundle:
        assert bundle.manifest == tiny.manifest
        assert (bundle.path, bundle.size_bytes) == (str(path), path.stat().st_size)
        assert bundle.bundle_id == hashlib.sha256(tiny.manifest.to_json()).hexdigest()
        bundle.verify_members()
        assert {name: bundle.read(name) for name in tiny.members} == tiny.members
        assert bundle.read("manifest.json") == tiny.manifest.to_json()


@pytest.mark.parametrize("graph", ["encode", "decode", "score"])
def test_joined_parts_run_bit_equal_to_the_ordinary_onnx_file(tiny_path: Path, graph: str) -> None:
    nodes, inputs, outputs, parts = GRAPHS[graph]
    names = DECODE_WEIGHTS if graph == "decode" else [n for n in WEIGHTS if graph == "score" or n not in DECODE_WEIGHTS]
    whole = model(nodes, inputs, outputs, [numpy_helper.from_array(WEIGHTS[n], n) for n in names])
    onnx.checker.check_model(whole, full_check=True)
    with Bundle.open(tiny_path) as bundle:
        joined = bundle.graph("fp32", graph)
    assert len(bundle.manifest.variants["fp32"].graphs[graph].parts) == 1 + len(parts)
    x = np.random.default_rng(0).normal(size=(5, *inputs[0].shape)).astype(np.float32)
    for ours, theirs in zip(
        run(joined, {inputs[0].name: x}), run(whole.SerializeToString(), {inputs[0].name: x}), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()  # fmt: skip


def test_the_score_graph_computes_what_numpy_computes(tiny_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, FEATURES)).astype(np.float32)
    with Bundle.open(tiny_path) as bundle:
        score, reconstruction, kl, _ = run(bundle.graph("fp32", "score"), {"x": x})
    expected = forward(x)
    for name, value in (("score", score), ("reconstruction", reconstruction), ("kl", kl)):
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


def test_an_unknown_variant_or_graph_lists_the_valid_ones(tiny_path: Path) -> None:
    with Bundle.open(tiny_path) as bundle:
        with pytest.raises(OptionError, match="variant is 'int4'; this bundle has fp32"):
            bundle.graph("int4", "score")
        with pytest.raises(OptionError, match="graph is 'train'; valid are"):
            bundle.graph("fp32", "train")


def test_a_member_that_only_one_side_has_is_refused(tiny: TinyBundle) -> None:
    tiny.members["extra.bin"] = b"?"
    with pytest.raises(BundleInvalid, match=r"\[extra.bin\]: is in the file and not in the manifest"):
        Bundle.open(tiny.write())
    del tiny.members["extra.bin"], tiny.members["golden/input.bin"]
    with pytest.raises(BundleInvalid, match=r"\[golden/input.bin\]: is in the manifest and not in the file"):
        Bundle.open(tiny.write())


def test_a_size_that_differs_from_the_manifest_is_refused(tiny: TinyBundle) -> None:
    tiny.members["golden/input.bin"] += b"\0"
    with pytest.raises(BundleInvalid, match=r"\[golden/input.bin\]: holds 33 bytes; the manifest says 32"):
        Bundle.open(tiny.write())


def test_a_member_packed_again_with_a_right_crc_is_refused_by_its_hash(tiny: TinyBundle) -> None:
    name = "fp32/decoder.weights"
    tiny.members[name] = tiny.members[name][:-1] + b"\x7f"
    with Bundle.open(tiny.write()) as bundle:
        for read in (bundle.read, lambda _: bundle.verify_members(), lambda _: bundle.graph("fp32", "decode")):
            with pytest.raises(BundleCorrupt, match="SHA-256") as caught:
                read(name)
            assert (caught.value.path, caught.value.member) == (str(tiny.path), name)
        assert bundle.read("golden/input.bin") == tiny.members["golden/input.bin"]


def test_parts_in_another_order_are_refused(tiny: TinyBundle) -> None:
    plain = tiny.plain
    plain["variants"]["fp32"]["graphs"]["decode"]["parts"] = PARTS[::-1]
    with Bundle.open(tiny.write(plain)) as bundle, pytest.raises(BundleCorrupt, match="joined parts"):
        bundle.graph("fp32", "decode")


def test_bytes_that_changed_after_opening_are_never_returned(tiny: TinyBundle) -> None:
    path = tiny.write()
    with Bundle.open(path) as bundle, path.open("r+b") as file:
        entry = Archive.open(path).entries["golden/input.bin"]
        file.seek(entry.offset)
        file.write(b"\xff")
        file.flush()
        with pytest.raises(BundleCorrupt, match=r"\[golden/input.bin\]"):
            bundle.read("golden/input.bin")


@pytest.mark.parametrize(("key", "value"), [("runtime_schema", SCHEMA_VERSION + 1), ("opset", 19), ("ir_version", 11)])
def test_a_bundle_that_needs_more_than_this_runtime_names_both_numbers(tiny: TinyBundle, key: str, value: int) -> None:
    plain = tiny.plain
    have = {"runtime_schema": SCHEMA_VERSION, "opset": 18, "ir_version": 10}[key]
    plain["requires"][key] = value
    with pytest.raises(BundleTooNew, match=f"needs .* {value}, this runtime has {have}: update") as caught:
        Bundle.open(tiny.write(plain))
    assert caught.value.path == str(tiny.path)


def test_a_newer_schema_is_too_new_even_where_its_keys_are_unknown(tiny: TinyBundle) -> None:
    newer = SCHEMA_VERSION + 1
    with pytest.raises(BundleTooNew, match=rf"tiny.vaeb \[manifest.json\]: schema version {newer}"):
        Bundle.open(tiny.write({"schema_version": newer, "news": []}))


def test_an_empty_or_huge_manifest_is_refused(tiny: TinyBundle) -> None:
    with pytest.raises(BundleInvalid, match=r"\[manifest.json\]: not valid JSON"):
        Bundle.open(tiny.write(b""))
    with pytest.raises(BundleInvalid, match="limit is 4194304"):
        Bundle.open(tiny.write(b" " * (4 << 20) + b"{}"))


def spoil_initializer(m: onnx.ModelProto) -> None:
    m.graph.input.append(helper.make_tensor_value_info("w_out", TensorProto.FLOAT, [2, 4]))


def rename_output(m: onnx.ModelProto) -> None:
    m.graph.output[0].name = m.graph.node[1].output[0] = "y"


def set_dim(value: int, axis: int) -> Callable[[onnx.ModelProto], None]:
    def change(m: onnx.ModelProto) -> None:
        m.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = value

    return change


def set_dtype(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def set_opset(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 19


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (spoil_initializer, "also an input"),
        (rename_output, r"outputs are \['y'\]; the manifest says \['x_hat'\]"),
        (set_dim(3, 1), r"input 'z' is float32 \['batch', 3\]; the manifest says float32 \['batch', 2\]"),
        (set_dim(1, 0), r"input 'z' is float32 \[1, 2\].*free batch axis"),
        (set_dtype, "input 'z' is float64"),
        (set_opset, "opset 19; this runtime runs 17 to 18"),
    ],
)
def test_a_graph_unlike_its_manifest_is_refused_and_named(
    tiny: TinyBundle, change: Callable[[onnx.ModelProto], None], problem: str
) -> None:
    m = model(GRAPHS["decode"][0], (Z,), (X_HAT,))
    change(m)
    plain = tiny.replace_member("fp32/decode.onnx", m.SerializeToString())
    with Bundle.open(tiny.write(plain)) as bundle:
        for read in (bundle.graph, as_file(bundle)):
            with pytest.raises(GraphRefused, match=problem) as caught:
                read("fp32", "decode")
            assert str(caught.value).startswith(f"{tiny.path} [fp32 decode]: ")


def test_a_graph_with_an_opset_above_the_manifests_is_refused(tiny: TinyBundle) -> None:
    plain: dict[str, Any] = tiny.plain
    plain["requires"]["opset"] = 17
    with Bundle.open(tiny.write(plain)) as bundle, pytest.raises(GraphRefused, match="opset 18; the manifest says 17"):
        bundle.graph("fp32", "score")


def test_reading_after_close_is_refused_and_close_twice_is_fine(tiny_path: Path) -> None:
    bundle = Bundle.open(tiny_path)
    bundle.close()
    bundle.close()
    with pytest.raises(SessionClosed):
        bundle.read("golden/input.bin")
    with pytest.raises(SessionClosed):
        bundle.graph("fp32", "score")


def test_a_refused_bundle_leaves_no_descriptor_open(tiny: TinyBundle) -> None:
    before, kept = open_descriptors(), []
    for raw in (b"", b"[]", b"{", b'{"schema_version": 9}'):
        with pytest.raises(BundleError) as caught:
            Bundle.open(tiny.write(raw))
        kept.append(caught)  # a kept traceback keeps the open file's object alive, not the file open
    assert open_descriptors() == before


def test_a_graph_as_a_file_holds_what_the_graph_holds_and_is_gone_afterwards(tiny_path: Path) -> None:
    before = open_descriptors()
    with Bundle.open(tiny_path) as bundle:
        for graph in GRAPHS:
            with bundle.graph_file("fp32", graph) as source:
                assert isinstance(source, str)
                assert Path(source).read_bytes() == bundle.graph("fp32", graph)
                feeds = (
                    {"z": np.zeros((1, 2), np.float32)}
                    if graph == "decode"
                    else {"x": np.ones((1, FEATURES), np.float32)}
                )
                for ours, theirs in zip(run(source, feeds), run(bundle.graph("fp32", graph), feeds), strict=True):
                    assert ours.tobytes() == theirs.tobytes()
    assert open_descriptors() == before


@pytest.mark.parametrize("lacking", ["memfd_create", "/proc", "room"])
def test_without_files_in_memory_the_graph_comes_as_bytes(
    tiny_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_descriptors()
    if lacking == "memfd_create":
        monkeypatch.delattr(os, "memfd_create")
    elif lacking == "/proc":
        monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc/"))
    else:
        full = os.open("/dev/full", os.O_RDWR)  # every write to it fails
        monkeypatch.setattr(os, "memfd_create", lambda name: full)
    with Bundle.open(tiny_path) as bundle, bundle.graph_file("fp32", "score") as source:
        assert source == bundle.graph("fp32", "score")
    assert open_descriptors() == before


def test_a_graph_as_a_file_is_refused_like_its_bytes(tiny: TinyBundle) -> None:
    name = "fp32/decoder.weights"
    path = tiny.write()
    with Bundle.open(path) as bundle, path.open("r+b") as file:
        before = open_descriptors()
        file.seek(Archive.open(path).entries[name].offset)
        file.write(b"\x55")
        file.flush()
        for read in (bundle.graph, as_file(bundle)):
            with pytest.raises(BundleCorrupt, match="changed after export") as caught:
                read("fp32", "decode")
            assert (caught.value.path, caught.value.member) == (str(path), name)
        assert open_descriptors() == before


def test_eight_threads_get_what_one_gets(tiny_path: Path) -> None:
    with Bundle.open(tiny_path) as bundle:
        expected = {graph: zlib.crc32(bundle.graph("fp32", graph)) for graph in GRAPHS}
        found: list[dict[str, int]] = []

        def work() -> None:
            found.extend({g: zlib.crc32(bundle.graph("fp32", g)) for g in GRAPHS} for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [expected] * 40


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 warns of any thread
def test_a_bundle_in_a_forked_child_still_reads(tiny: TinyBundle) -> None:
    with Bundle.open(tiny.write()) as bundle:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if bundle.read("golden/input.bin") == tiny.members["golden/input.bin"] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        bundle.verify_members()


def test_an_archive_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.vaeb"
    path.write_bytes(encode({"manifest.json": b"{}", "a": b""}))
    with pytest.raises(BundleInvalid, match=r"x.vaeb \[manifest.json\]: missing key compression"):
        Bundle.open(path)
