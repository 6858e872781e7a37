"""C and Python on the same hostile bytes: what one refuses the other refuses, by the same name."""

from __future__ import annotations

import ctypes
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from c_runtime import CRuntime
from mutate import mutated
from operator_cases import CASES
from operator_graphs import build
from runner import Refused
from targets import TARGETS

from vae_edge_runtime import Bundle, VaeEdgeError, load
from vae_edge_runtime.format import archive
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.onnx_scan import scan

CORPUS = Path(__file__).parents[1] / "corpus"
FUZZ = Path(__file__).parents[1] / "fuzz" / "corpus"


def by_python(call: Callable[[bytes], object], raw: bytes) -> str:
    try:
        call(raw)
    except VaeEdgeError as error:
        return type(error).__name__
    return "accepted"


def by_c(runtime: CRuntime, name: str, raw: bytes) -> str:
    code = getattr(runtime.library.c, f"vaee_{name}")(raw, ctypes.c_size_t(len(raw)))
    return runtime.library.c.vaee_error_name(code).decode() or "accepted"


def open_python(raw: bytes) -> None:
    TARGETS["archive"].run(raw)


def differences(runtime: CRuntime, name: str, call: Callable[[bytes], object], inputs: Sequence[bytes]) -> list[str]:
    found = []
    for raw in inputs:
        ours, theirs = by_c(runtime, name, raw), by_python(call, raw)
        if ours != theirs:
            kept = Path(tempfile.gettempdir()) / f"vae-edge-{name}-differs.bin"
            kept.write_bytes(raw)
            found.append(f"C {ours} ({runtime.library.message()}), Python {theirs}: {kept}")
    return found


@pytest.mark.parametrize("op", CASES)
def test_every_operator_is_accepted(op: str, runtime: CRuntime) -> None:
    raw = build(op, CASES[op])[0]
    assert differences(runtime, "check_graph", scan, [raw]) == []
    assert by_c(runtime, "check_graph", raw) == "accepted"


def test_graphs_that_a_fuzzer_kept_are_refused_alike(runtime: CRuntime) -> None:
    kept = [path.read_bytes() for path in sorted(FUZZ.rglob("*")) if path.is_file()]
    assert len(kept) >= 3
    assert differences(runtime, "check_graph", scan, kept) == []


@pytest.mark.parametrize("seed", range(4))
def test_changed_graphs_are_refused_alike(seed: int, runtime: CRuntime) -> None:
    rng, seeds = random.Random(seed), TARGETS["scanner"].seeds()
    inputs = [mutated(seeds, rng) for _ in range(800)]
    assert differences(runtime, "check_graph", scan, inputs) == []


@pytest.mark.parametrize("seed", range(4))
def test_graphs_with_other_attributes_and_constants_are_refused_alike(seed: int, runtime: CRuntime) -> None:
    """Well-formed files whose numbers are wrong: they come further than damaged ones."""
    rng, ops = random.Random(seed), list(CASES)
    inputs = []
    for _ in range(600):
        model = onnx.load_model_from_string(build(op := rng.choice(ops), CASES[op])[0])
        for _ in range(rng.randint(1, 3)):
            _change(model, rng)
        inputs.append(model.SerializeToString())
    assert differences(runtime, "check_graph", scan, inputs) == []


_NUMBERS = (-(1 << 63), -(1 << 31), -17, -2, -1, 0, 1, 2, 3, 4, 5, 61, 64, 65_537, 1 << 28, 1 << 31, (1 << 63) - 1)


def _change(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    kind = rng.randrange(6)
    if kind == 0 and node.attribute:
        attribute = rng.choice(node.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_NUMBERS)
        else:
            attribute.i = rng.choice(_NUMBERS)
    elif kind == 1:
        name = rng.choice(("axis", "keepdims", "group", "allowzero", "batch_dims", "layout", "to", "blocksize"))
        if name not in {a.name for a in node.attribute}:
            node.attribute.add(name=name, i=rng.choice(_NUMBERS), type=onnx.AttributeProto.INT)
    elif kind == 2 and model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        if tensor.raw_data and tensor.data_type == onnx.TensorProto.INT64:
            numbers = np.frombuffer(tensor.raw_data, np.int64).copy()
            if numbers.size:
                numbers[rng.randrange(numbers.size)] = rng.choice(_NUMBERS)
                tensor.raw_data = numbers.tobytes()
        elif tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)
    elif kind == 3 and node.input:
        names = [value.name for value in [*model.graph.input, *model.graph.initializer]] + [""]
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 4:
        node.op_type = rng.choice(list(CASES))
    elif model.graph.input:
        dims = rng.choice(model.graph.input).type.tensor_type.shape.dim
        if len(dims) > 1:
            dims[rng.randrange(1, len(dims))].dim_value = rng.choice((1, 2, 3, 4, 8, 61))


@pytest.mark.parametrize("seed", range(3))
def test_changed_manifests_are_refused_alike(seed: int, runtime: CRuntime) -> None:
    rng = random.Random(seed)
    seeds = []
    for path in sorted(CORPUS.glob("*.vaeb"))[::4]:
        with Bundle.open(path) as bundle:
            seeds.append(bundle.read("manifest.json"))
    inputs = [*seeds, *(mutated(seeds, rng) for _ in range(400))]
    inputs += [_number_changed(rng.choice(seeds), rng) for _ in range(400)]
    assert differences(runtime, "check_manifest", Manifest.from_json, inputs) == []


def _number_changed(raw: bytes, rng: random.Random) -> bytes:
    """One value of the JSON is another: text, a number, null, true or a list."""
    text = raw.decode()
    lines = text.splitlines()
    at = rng.choice([i for i, line in enumerate(lines) if '": ' in line and line.rstrip(",")[-1] not in "[{"])
    key, _, value = lines[at].rpartition('": ')
    other = rng.choice(
        ("0", "-1", "1", "2", "1.0", "0.5", "null", "true", '""', '"x"', "[]", "{}", "1e300", str(1 << 62))
    )
    lines[at] = f'{key}": {other}' + ("," if value.endswith(",") else "")
    return "\n".join(lines).encode()


@pytest.mark.parametrize("seed", range(2))
def test_changed_files_are_refused_alike(seed: int, runtime: CRuntime, tmp_path: Path) -> None:
    rng, good = random.Random(seed), TARGETS["archive"].seeds()[0]
    path, found = tmp_path / "changed.vaeb", []
    for _ in range(300):
        raw = mutated([good], rng)
        path.write_bytes(raw)
        code = runtime.library.c.vaee_check(str(path).encode(), None)
        ours, theirs = runtime.library.c.vaee_error_name(code).decode() or "accepted", by_python(open_python, raw)
        if ours != theirs:
            found.append(f"C {ours} ({runtime.library.message()}), Python {theirs}")
    assert found == []


RUNS = []
for _path in sorted(CORPUS.glob("*.vaeb")):
    with Bundle.open(_path) as _bundle:
        RUNS += [(_path, name) for name in _bundle.manifest.variants]


@pytest.mark.parametrize(("path", "variant"), RUNS, ids=[f"{path.stem}-{name}" for path, name in RUNS])
def test_one_engine_gives_both_the_same_bits(path: Path, variant: str, runtime: CRuntime) -> None:
    """Scores, p-values, decisions, statuses and maps of C and Python, on the same ONNX Runtime with one thread."""
    from figures import rows_of

    with load(path, device="cpu", variant=variant, threads=1) as vae, runtime.session(path, variant) as (session, info):
        x, condition = rows_of(vae)
        ours = runtime.scores(session, info, x, condition, heads="all", maps=True)
        theirs = vae.score(x, condition=condition, heads="all", maps=True)
        np.testing.assert_array_equal(ours["status"], theirs.status)
        np.testing.assert_array_equal(ours["map"], theirs.map)
        np.testing.assert_array_equal(ours["reconstruction"], theirs.reconstruction)
        assert ours["heads"].keys() == theirs.heads.keys()
        for head, scores in theirs.heads.items():
            computed_in_numpy = head in ("mahalanobis", "fisher", "harmonic", "ranks")
            tolerance = 1e-6 if computed_in_numpy else 0  # sums in another order, another logarithm
            np.testing.assert_allclose(ours["heads"][head]["score"], scores.score, rtol=tolerance, err_msg=head)
            if not computed_in_numpy:
                np.testing.assert_array_equal(ours["heads"][head]["p_value"], scores.p_value)
                np.testing.assert_array_equal(ours["heads"][head]["is_anomaly"], scores.is_anomaly)
        assert info.engine_version.decode() == vae.info.engine_version


def changed_manifest(path: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A bundle whose manifest says something else, packed again with right hashes."""
    with Bundle.open(path) as bundle:
        plain = json.loads(bundle.read("manifest.json"))
        members = {name: bundle.read(name) for name in plain["members"]}
    change(plain)
    target.write_bytes(archive.encode({**members, "manifest.json": json.dumps(plain).encode()}))
    return target


def test_rows_with_unknown_codes_get_the_same_status(runtime: CRuntime, tmp_path: Path) -> None:
    def change(plain: dict[str, Any]) -> None:
        plain["input"]["codes"] = [{"column": 0, "low": 1, "high": 3}, {"column": 2, "low": -2, "high": 0}]

    path = changed_manifest(CORPUS / "v1-gaussian.vaeb", tmp_path / "codes.vaeb", change)
    with load(path, device="cpu", threads=1) as vae, runtime.session(path) as (session, info):
        x = np.ones((6, *vae.manifest.input.shape), np.float32)
        x[:, 2] = [0, -1, 1, 0, np.nan, -3]
        x[3, 0] = 4
        ours, theirs = runtime.scores(session, info, x), vae.score(x)
        assert theirs.status.tolist() == [0, 0, 3, 3, 1, 3]
        np.testing.assert_array_equal(ours["status"], theirs.status)
        np.testing.assert_array_equal(ours["heads"]["elbo"]["score"], theirs.score)


@pytest.mark.parametrize("head", ["mahalanobis", "typicality", "fisher", "top"])
def test_a_bundle_decides_by_its_own_head_in_both(head: str, runtime: CRuntime, tmp_path: Path) -> None:
    from figures import rows_of

    def change(plain: dict[str, Any]) -> None:
        plain["score"]["decides_by"] = head

    path = changed_manifest(CORPUS / "v1-table.vaeb", tmp_path / "decides.vaeb", change)
    with load(path, device="cpu", threads=1) as vae, runtime.session(path) as (session, info):
        x, condition = rows_of(vae)
        theirs = vae.score(x, condition=condition, heads="all")
        for heads in ("all", ()):
            ours = runtime.scores(session, info, x, condition, heads=heads)
            first = ours["heads"][head]
            np.testing.assert_allclose(first["score"], theirs.score, rtol=1e-6)
            np.testing.assert_array_equal(first["p_value"], theirs.p_value)
            np.testing.assert_array_equal(first["is_anomaly"], theirs.is_anomaly)
            assert first["threshold"] == theirs.threshold
        assert [info.head[i].name.decode() for i in range(info.heads)] == list(vae.heads)


def test_a_bundle_of_free_size_is_refused_with_a_word(runtime: CRuntime, tmp_path: Path) -> None:
    def change(plain: dict[str, Any]) -> None:
        check = {"height": 8, "width": 8, "rows": 1, "input": plain["golden"]["input"]}
        empty: dict[str, dict[str, Any]] = {"parity": {}, "expected": {}, "tolerance_relative": {}}
        plain["free_size"] = {"multiple": [4, 4], "smallest": [4, 4], "checks": [check | empty]}

    path = changed_manifest(CORPUS / "v1-picture.vaeb", tmp_path / "free.vaeb", change)
    assert runtime.library.c.vaee_check(str(path).encode(), None) == 0
    with pytest.raises(Refused, match="OptionError"), runtime.session(path):
        pass
    assert "any height and width" in runtime.library.message()


def test_a_bundle_of_tiles_is_refused_with_a_word(runtime: CRuntime, tmp_path: Path) -> None:
    def change(plain: dict[str, Any]) -> None:
        plain["input"]["overlap"] = 2

    path = changed_manifest(CORPUS / "v1-picture.vaeb", tmp_path / "tiles.vaeb", change)
    assert runtime.library.c.vaee_check(str(path).encode(), None) == 0
    with pytest.raises(Refused, match="OptionError"), runtime.session(path):
        pass
    assert "tiles" in runtime.library.message()
