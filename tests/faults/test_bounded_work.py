"""Hostile files cost work in proportion to their size, and the limits hold before the work is done."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import onnx
import pytest
from cpu_time import least_cpu_s
from onnx import helper, numpy_helper
from tiny_bundle import TinyBundle, X, model

from vae_edge_runtime import BundleInvalid, GraphRefused
from vae_edge_runtime.format import limits, onnx_scan, strict_json
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.onnx_scan import scan


def keys(n: int) -> bytes:
    """An object of n keys, the last of which occurs twice."""
    return ("{" + ",".join(f'"{i}":0' for i in [*range(n), n - 1]) + "}").encode()


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def with_initializer(tensor: bytes) -> bytes:
    graph = b"\x2a" + varint(len(tensor)) + tensor
    return model([], (X,), (X,)).SerializeToString() + b"\x3a" + varint(len(graph)) + graph


def factors(n: int) -> bytes:
    """A tensor of n dimensions of 2^62."""
    return with_initializer((b"\x08" + varint(1 << 62)) * n + b"\x10\x01\x42\x01w")


def dimensions(n: int) -> bytes:
    packed = b"\x01" * n
    return with_initializer(b"\x0a" + varint(n) + packed + b"\x10\x01\x42\x01w\x4a\x04" + bytes(4))


def literal(n: int) -> bytes:
    """A shape of n values in a node, where it is used."""
    nodes = [helper.make_node("Constant", [], ["s"], value_ints=[1 << 40] * n)]
    return model([*nodes, helper.make_node("Reshape", ["x", "s"], ["y"])], (X,), (X,)).SerializeToString()


def chain(n: int) -> bytes:
    nodes = [helper.make_node("Abs", [f"h{i - 1}" if i else "x"], [f"h{i}"]) for i in range(n)]
    return model(nodes, (X,), (X,)).SerializeToString()


def weights(n: int) -> bytes:
    tensors = [numpy_helper.from_array(np.zeros(1, np.float32), f"w{i}") for i in range(n)]
    return model([], (X,), (X,), tensors).SerializeToString()


def infos(n: int) -> bytes:
    return model([], (X,), (X,)).SerializeToString() + b"\x3a" + varint(2 * n) + b"\x6a\x00" * n


def metadata(n: int) -> bytes:
    made = model([], (X,), (X,))
    for i in range(n):
        made.metadata_props.add(key=str(i), value="v")
    return made.SerializeToString()


def concatenated(n: int) -> bytes:
    node = helper.make_node("Concat", ["x"] * n, ["y"], axis=1)
    return model([node], (X,), (X,)).SerializeToString()


def concat_of_concats(n: int) -> bytes:
    """Constants that grow as far as their numbers are followed."""
    nodes = [helper.make_node("Constant", [], ["c0"], value_ints=[1] * 8)]
    nodes += [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(n)]
    return model(nodes, (X,), (X,)).SerializeToString()


def parse(raw: bytes) -> object:
    return strict_json.parse(raw, member="m")


CASES: dict[str, tuple[Callable[[int], bytes], Callable[[bytes], object], int]] = {
    "keys": (keys, parse, 20_000),
    "factors": (factors, scan, 500),
    "dimensions": (dimensions, scan, 4000),
    "literal": (literal, scan, 2000),
    "chain": (chain, scan, 250),
    "weights": (weights, scan, 250),
    "infos": (infos, scan, 2000),
    "metadata": (metadata, scan, 1000),
    "concatenated": (concatenated, scan, 1000),
}


def work(call: Callable[[bytes], object], raw: bytes) -> int:
    """Calls that Python makes, its own and those into C."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    with contextlib.suppress(BundleInvalid, GraphRefused):
        try:
            call(raw)
        finally:
            sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", CASES)
def test_twice_the_input_takes_at_most_twice_the_calls(name: str) -> None:
    make, call, n = CASES[name]
    first, second = work(call, make(n)), work(call, make(2 * n))
    assert second <= 2.1 * first + 50, (first, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_eight_times_the_input_takes_at_most_thirty_times_as_long(name: str) -> None:
    make, call, n = CASES[name]

    def seconds(raw: bytes) -> float:
        def attempt() -> None:
            with contextlib.suppress(BundleInvalid, GraphRefused):
                call(raw)

        return least_cpu_s(attempt, repeats=5)

    assert seconds(make(16 * n)) <= 30 * seconds(make(2 * n)) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "call", "problem"),
    [
        (lambda: keys(330_000), parse, "'329999' occurs twice"),
        (lambda: factors(190_000), scan, "more than|not a shape"),
        (lambda: dimensions(190_000), scan, "not a shape"),
        (lambda: literal(190_000), scan, "limit|dimensions|more than 131072 fields"),
        (lambda: infos(10_000_000), scan, "more than 131072 fields of graph"),
        (lambda: chain(1) + b"\x3a" + varint(500_000 * 2) + b"\x0a\x00" * 500_000, scan, "fields of graph|operator"),
    ],
    ids=["keys", "factors", "dimensions", "literal", "infos", "nodes"],
)
def test_the_largest_files_that_were_measured_are_refused_in_seconds_and_megabytes(
    make: Callable[[], bytes], call: Callable[[bytes], object], problem: str
) -> None:
    raw = make()
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises((BundleInvalid, GraphRefused), match=problem):
            call(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 60  # minutes, or never, before
    assert peak < 200 << 20


@pytest.mark.parametrize("digits", [65, 4300, 4301, 100_000])
def test_a_number_of_many_digits_is_refused_in_one_line(digits: int) -> None:
    for text in ("9" * digits, "-" + "9" * digits, "0." + "9" * digits, "1e" + "9" * digits):
        with pytest.raises(BundleInvalid, match="of 64 bits needs at most 64") as caught:
            parse(f'{{"n": {text}}}'.encode())
        assert len(str(caught.value)) < 200


def test_messages_stay_short_whatever_the_names_are() -> None:
    plain = TinyBundle(Path("unused")).plain
    plain["variants"]["fp32"]["graphs"]["x" * 1_000_000] = plain["variants"]["fp32"]["graphs"]["score"]
    for raw in (json.dumps(plain).encode(), json.dumps({"y" * 1_000_000: 0}).encode()):
        with pytest.raises(BundleInvalid) as caught:
            Manifest.from_json(raw)
        assert len(str(caught.value)) < 2100
    node = helper.make_node("N" * 1_000_000, ["x"], ["y"], name="n" * 1_000_000)
    with pytest.raises(GraphRefused) as refused:
        scan(model([node], (X,), (X,)).SerializeToString())
    assert len(str(refused.value)) < 500


def test_variants_and_parts_are_few() -> None:
    plain = TinyBundle(Path("unused")).plain
    one = plain["variants"]["fp32"]
    plain["variants"] = {f"v{i}": one for i in range(limits.MAX_VARIANTS + 1)}
    with pytest.raises(BundleInvalid, match="17 variants; the limit is 16"):
        Manifest.from_json(json.dumps(plain).encode())
    plain["variants"] = {"fp32": one}
    more = {f"fp32/part{i}": plain["members"]["fp32/score.onnx"] for i in range(limits.MAX_PARTS)}
    plain["members"] |= more
    one["graphs"]["score"]["parts"] += list(more)
    with pytest.raises(BundleInvalid, match="score has more than 64 parts"):
        Manifest.from_json(json.dumps(plain).encode())


@pytest.mark.parametrize("name", ["NODES", "INITIALIZERS"])
def test_nodes_and_initializers_over_several_parts_are_counted_together(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_scan, f"MAX_{name}", 100)
    parts = b""
    for half in "ab":
        part = onnx.ModelProto()
        for i in range(51):
            if name == "NODES":
                part.graph.node.append(helper.make_node("Abs", ["x"], [f"{half}{i}"]))
            else:
                part.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), f"{half}{i}"))
        parts += part.SerializeToString()
        if half == "a":
            assert scan(model([], (X,), (X,)).SerializeToString() + parts)
    with pytest.raises(GraphRefused, match=f"more than 100 {name.lower()}"):
        scan(model([], (X,), (X,)).SerializeToString() + parts)
