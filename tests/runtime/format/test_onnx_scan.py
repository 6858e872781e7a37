from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import GRAPHS, WEIGHTS, X_HAT, X, Z, model, weights

from vae_edge_runtime import GraphRefused
from vae_edge_runtime.format.onnx_ops import ALLOWED
from vae_edge_runtime.format.onnx_scan import ELEMENT_TYPES, scan

INITIALIZERS = [numpy_helper.from_array(value, name) for name, value in WEIGHTS.items()]


def decoder() -> onnx.ModelProto:
    return model(GRAPHS["decode"][0], (Z,), (X_HAT,), INITIALIZERS[2:])


def with_node(*args: Any, **attributes: Any) -> onnx.ModelProto:
    m = decoder()
    m.graph.node.append(helper.make_node(*args, **attributes))
    return m


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def tag(number: int, wire: int, payload: bytes = b"") -> bytes:
    return varint(number << 3 | wire) + (varint(len(payload)) if wire == 2 else b"") + payload


def test_facts_of_a_joined_graph() -> None:
    nodes, inputs, outputs, _ = GRAPHS["score"]
    skeleton = model(nodes, inputs, outputs).SerializeToString()
    facts = scan(skeleton + weights(("w_mean", "w_logvar")) + weights(("w_out", "b_out")))
    assert (facts.ir_version, facts.opset, facts.nodes) == (10, 18, 15)
    assert facts.ops == {node.op_type for node in nodes}
    assert [(v.name, v.dtype, v.dims) for v in facts.inputs] == [("x", "float32", ("batch", 4))]
    assert [v.name for v in facts.outputs] == ["score", "reconstruction", "kl", "map"]
    assert (facts.initializers, facts.initializer_bytes) == (4, sum(w.nbytes for w in WEIGHTS.values()))


def test_facts_do_not_depend_on_where_the_weights_are() -> None:
    apart = model(GRAPHS["decode"][0], (Z,), (X_HAT,)).SerializeToString() + weights(("w_out", "b_out"))
    assert scan(apart) == scan(decoder().SerializeToString())


@pytest.mark.parametrize("name", ["value_int", "value_ints", "value_float", "value_floats"])
def test_a_constant_without_its_number_is_no_crash(name: str) -> None:
    m = with_node("Constant", [], ["extra"])
    m.graph.node[-1].attribute.add(name=name)
    scan(m.SerializeToString())


def test_dimensions_are_numbers_names_or_unknown() -> None:
    m = decoder()
    m.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    m.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 0
    facts = scan(m.SerializeToString())
    assert (facts.inputs[0].dims, facts.outputs[0].dims) == (("batch", None), (0, 4))


@pytest.mark.parametrize("dtype", sorted(ELEMENT_TYPES.values()))
def test_every_listed_element_type_is_read(dtype: str) -> None:
    m = decoder()
    m.graph.initializer.append(numpy_helper.from_array(np.ones((3, 2), dtype=dtype), "extra"))
    assert scan(m.SerializeToString()).initializer_bytes == 48 + 6 * np.dtype(dtype).itemsize


def test_numbers_stored_as_typed_fields_are_read_too() -> None:
    m = decoder()
    m.graph.initializer.append(helper.make_tensor("f", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]))
    m.graph.initializer.append(helper.make_tensor("d", TensorProto.DOUBLE, [1], [1.0]))
    m.graph.initializer.append(helper.make_tensor("i", TensorProto.INT64, [2], [-1, 5]))
    assert scan(m.SerializeToString()).initializer_bytes == 48 + 12 + 8 + 16


def test_metadata_and_doc_strings_are_no_reason_to_refuse() -> None:
    m = decoder()
    m.producer_name, m.doc_string, m.graph.doc_string = "pytorch", "é", "d"
    for holder in (m, m.graph, m.graph.node[0], m.graph.input[0], m.graph.initializer[0]):
        entry = holder.metadata_props.add()
        entry.key, entry.value = "k", "v"
    m.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", 4]))
    assert scan(m.SerializeToString()).nodes == 2


def test_every_allowed_operator_exists_in_opset_18() -> None:
    for op in ALLOWED:
        assert onnx.defs.get_schema(op, 18).domain == "", op


@pytest.mark.parametrize(
    "op",
    ["If", "Loop", "Scan", "SequenceMap", "RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout",
     "NonZero", "Unique", "Optional", "SequenceConstruct", "StringNormalizer", "DynamicQuantizeLinear", "Nonsense", ""],
)  # fmt: skip
def test_an_operator_outside_the_list_is_refused_by_name(op: str) -> None:
    with pytest.raises(GraphRefused, match=rf"node 2 .*operator '{op}' is not one this runtime runs"):
        scan(with_node(op, ["x_hat"], ["y"], name="culprit").SerializeToString())


def body() -> onnx.GraphProto:
    return helper.make_graph([], "body", [], [])


def tensor(**fields: Any) -> onnx.TensorProto:
    made = onnx.TensorProto(data_type=TensorProto.FLOAT, name="t", dims=[1], raw_data=bytes(4))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def external(location: bool = True, entries: bool = True) -> onnx.TensorProto:
    made = tensor()
    if location:
        made.data_location = TensorProto.EXTERNAL
    if entries:
        entry = made.external_data.add()
        entry.key, entry.value = "location", "../weights"
    return made


def sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(tensor(), helper.make_tensor("i", TensorProto.INT64, [1], [0]), [4])


def change(edit: Callable[[onnx.ModelProto], Any]) -> bytes:
    m = decoder()
    edit(m)
    return m.SerializeToString()


def add_attribute(name: str, value: Any) -> Callable[[onnx.ModelProto], Any]:
    return lambda m: m.graph.node[0].attribute.append(helper.make_attribute(name, value))


ATTACKS: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "IR above": (lambda m: setattr(m, "ir_version", 11), "IR version 11; this runtime reads 1 to 10"),
    "IR absent": (lambda m: m.ClearField("ir_version"), "IR version 0"),
    "IR negative": (lambda m: setattr(m, "ir_version", -1), "IR version -1"),
    "opset above": (lambda m: setattr(m.opset_import[0], "version", 99), "opset 99; this runtime runs 17 to 18"),
    "opset below": (lambda m: setattr(m.opset_import[0], "version", 16), "opset 16"),
    "opset absent": (lambda m: m.ClearField("opset_import"), "0 opset imports"),
    "opset twice": (lambda m: m.opset_import.add(version=18), "2 opset imports"),
    "other domain": (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "domain 'com.microsoft'"),
    "node domain": (lambda m: setattr(m.graph.node[0], "domain", "evil"), "node 0 .*domain 'evil'"),
    "overload": (lambda m: setattr(m.graph.node[0], "overload", "o"), "node 0: holds an operator overload"),
    "functions": (lambda m: m.functions.add(name="f"), "local functions"),
    "training": (lambda m: m.training_info.add(), "training information"),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "subgraph": (add_attribute("body", body()), "node 0 .*holds a subgraph"),
    "subgraphs": (add_attribute("bodies", [body()]), "node 0 .*holds subgraphs"),
    "attribute twice": (lambda m: [add_attribute("axis", 1)(m), add_attribute("axis", 2)(m)], "'axis' occurs twice"),
    "function attribute": (lambda m: m.graph.node[0].attribute.add(name="a", ref_attr_name="b"), "reference to a func"),
    "external": (lambda m: m.graph.initializer.append(external()), "external data"),
    "external without a place": (lambda m: m.graph.initializer.append(external(entries=False)), "external data"),
    "external without the flag": (lambda m: m.graph.initializer.append(external(location=False)), "external data"),
    "external in an attribute": (add_attribute("value", external()), "node 0 .*attribute 'value': holds external"),
    "external in a list": (add_attribute("values", [tensor(), external()]), "node 0 .*attribute 'values'.*external"),
    "sparse initializer": (lambda m: m.graph.sparse_initializer.append(sparse()), "sparse initializers"),
    "sparse attribute": (add_attribute("value", sparse()), "sparse tensor"),
    "annotation": (lambda m: m.graph.quantization_annotation.add(tensor_name="h"), "quantization annotations"),
    "same name": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "'w_out' is nameless or occurs twice"),
    "no name": (lambda m: m.graph.initializer[0].ClearField("name"), "'' is nameless"),
    "weight as input": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("w_out", 1, [2, 4])), "replace a weight"),
    "input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "one name"),
    "string tensor": (lambda m: m.graph.initializer.append(helper.make_tensor("s", 8, [1], [b"s"])), "string tensor"),
    "complex tensor": (lambda m: m.graph.initializer.append(tensor(data_type=14)), "element type 14"),
    "no element type": (lambda m: m.graph.initializer.append(tensor(data_type=0)), "element type 0"),
    "too little data": (lambda m: m.graph.initializer.append(tensor(raw_data=bytes(3))), "3 bytes of data for 4"),
    "too much data": (lambda m: m.graph.initializer.append(tensor(raw_data=bytes(5))), "5 bytes of data for 4"),
    "negative size": (lambda m: m.graph.initializer[0].dims.append(-1), "is not a shape"),
    "huge size": (lambda m: m.graph.initializer[0].dims.append(1 << 40), "is not a shape"),
    "segment": (lambda m: setattr(m.graph.initializer[0].segment, "begin", 1), "tensor segment"),
    "sequence input": (
        lambda m: m.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, [1])), "unknown field 4 of type"),
    "input of strings": (lambda m: m.graph.input.append(helper.make_tensor_value_info("s", 8, [1])), "known type"),
    "input without shape": (lambda m: m.graph.input.append(helper.make_tensor_value_info("s", 1, None)), "known type"),
    "training mode": (
        lambda m: m.graph.node.append(helper.make_node("BatchNormalization", ["h"] * 5, ["y"], training_mode=1)),
        "training mode"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_refused(name: str) -> None:
    edit, problem = ATTACKS[name]
    with pytest.raises(GraphRefused, match=problem):
        scan(change(edit))


def literal(values: list[int], typed: bool = False) -> onnx.TensorProto:
    if typed:
        return helper.make_tensor("shape", TensorProto.INT64, [len(values)], values)
    return numpy_helper.from_array(np.array(values, np.int64), "shape")


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    ("op", "inputs", "largest"),
    [
        ("ConstantOfShape", "shape", [1 << 14, 1 << 14]),
        ("Expand", "x,shape", [1 << 26, 1, 4]),  # over rows of 4
        ("Tile", "x,shape", [1 << 14, 1 << 12]),  # of rows of 4
        ("Resize", "x,,,shape", [1 << 14, 1 << 14]),
    ],
)
def test_a_literal_shape_above_two_to_the_28_is_refused_in_every_guise(
    op: str, inputs: str, largest: list[int], typed: bool
) -> None:
    node = helper.make_node(op, inputs.split(","), ["y"])
    constants = [helper.make_node("Constant", [], ["shape"], value=literal([1 << 15, -(1 << 14)], typed)),
                 helper.make_node("Constant", [], ["shape"], value_ints=[1 << 15, 1 << 14])]  # fmt: skip
    bombs = [model([constant, node], (X,), (X,)) for constant in constants]
    bombs.append(model([node], (X,), (X,), [literal([1 << 15, 1 << 14], typed)]))
    for bomb in bombs:
        with pytest.raises(GraphRefused, match=f"{op}.*asks for 536870912 elements; the limit is 268435456"):
            scan(bomb.SerializeToString())
    assert scan(model([node], (X,), (X,), [literal(largest, typed)]).SerializeToString()).ops == {op}


def test_a_literal_shape_that_arrives_after_its_node_is_still_seen() -> None:
    late = onnx.ModelProto()
    late.graph.initializer.append(literal([1 << 62]))
    skeleton = model([helper.make_node("ConstantOfShape", ["shape"], ["y"])], (X,), (X,)).SerializeToString()
    with pytest.raises(GraphRefused, match="asks for"):
        scan(skeleton + late.SerializeToString())


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "IR version 0"),
        (tag(1, 0) + b"\x80", "ends inside a number"),
        (tag(1, 0) + b"\xff" * 10 + b"\x01", "longer than 64 bits"),
        (tag(1, 0) + b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        (b"\x80" * 11, "longer than 64 bits"),
        (tag(1, 2, b"\x0a"), "field 1 of model has wire type 2"),
        (tag(1, 5) + bytes(4), "wire type 5"),
        (tag(7, 3) + tag(7, 4), "wire type 3"),
        (tag(7, 6), "wire type 6"),
        (tag(0, 0) + b"\0", "unknown field 0"),
        (tag(99, 0) + b"\0", "unknown field 99"),
        (tag(7, 2) + b"", "no graph|IR version"),
        (b"\x3a\x05abc", "longer than the file"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than the file"),
        (tag(2, 2, b"\xff\xfe"), "not UTF-8"),
        (tag(1, 0) + b"\x08" + tag(1, 0) + b"\x0a", "field 1 of model occurs twice"),
    ],
)
def test_a_broken_wire_format_is_refused(raw: bytes, problem: str) -> None:
    with pytest.raises(GraphRefused, match=problem):
        scan(raw)


def test_a_second_value_where_protobuf_would_keep_the_last_is_refused() -> None:
    good = decoder().SerializeToString()
    with pytest.raises(GraphRefused, match="field 1 of model occurs twice"):
        scan(good + tag(1, 0) + b"\x0a")
    renamed = tag(7, 2, tag(1, 2, tag(4, 2, b"MatMul") + tag(4, 2, b"Loop")))
    with pytest.raises(GraphRefused, match="field 4 of node occurs twice"):
        scan(good + renamed)


def test_a_refused_thing_in_a_later_part_is_found() -> None:
    part = onnx.ModelProto()
    part.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1]))
    with pytest.raises(GraphRefused, match="'RandomNormal'"):
        scan(decoder().SerializeToString() + part.SerializeToString())


def test_cut_at_every_byte_is_refused_or_lacks_what_the_cut_took() -> None:
    raw = decoder().SerializeToString()
    for length in range(len(raw)):
        try:
            facts = scan(raw[:length])
        except GraphRefused:
            continue
        # Only the last field, the pair id, can go without a trace here; a bundle misses it.
        assert (facts.metadata, length) == ({}, raw.rindex(b"vae_edge.pair_id") - 4)


def test_a_flipped_bit_anywhere_is_refused_or_read_but_never_a_crash() -> None:
    raw = bytearray(decoder().SerializeToString())
    refused = 0
    for at in range(len(raw)):
        for bit in range(8):
            raw[at] ^= 1 << bit
            try:
                scan(bytes(raw))
            except GraphRefused:
                refused += 1
            raw[at] ^= 1 << bit
    assert refused > len(raw)  # the rest changes names and weights, which only the hash sees


@given(raw=st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_is_raised(raw: bytes) -> None:
    with pytest.raises(GraphRefused):
        scan(raw)


def test_ten_thousand_nested_messages_are_refused() -> None:
    raw = b""
    for _ in range(10_000):
        raw = tag(6, 2, raw)  # an attribute's subgraph, a graph's node, and so on down
    with pytest.raises(GraphRefused):
        scan(tag(7, 2, tag(1, 2, tag(5, 2, raw))))


def test_large_weights_are_not_copied() -> None:
    import tracemalloc

    big = onnx.ModelProto()
    big.graph.initializer.append(numpy_helper.from_array(np.zeros(4 << 20, np.float32), "big"))
    raw = decoder().SerializeToString() + big.SerializeToString()
    tracemalloc.start()
    assert scan(raw).initializer_bytes == 48 + (16 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
