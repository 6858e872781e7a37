"""What arithmetic tells of a graph before an engine sees it: sizes, constant indices, attributes that kill engines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from operator_cases import CASES, X
from operator_graphs import build

from vae_edge_runtime import GraphRefused
from vae_edge_runtime.format import onnx_flow
from vae_edge_runtime.format.limits import MAX_ELEMENTS, MOST_ROWS
from vae_edge_runtime.format.onnx_ops import ARITY, VARIADIC
from vae_edge_runtime.format.onnx_scan import scan
from vae_edge_runtime.format.onnx_values import Value

BIG = 1 << 30


@pytest.mark.parametrize("op", sorted(CASES))
def test_shapes_types_and_constants_of_every_operator_are_those_of_numpy(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, feeds, wanted = build(op, CASES[op])
    first = next(iter(feeds.values()), np.zeros(1))
    rows = first.shape[CASES[op].batch_axis] if first.ndim else 1
    made: list[Sequence[Value]] = []

    def infer(*arguments: Any) -> Sequence[Value]:
        made.append(real(*arguments))
        return made[-1]

    real = onnx_flow.infer
    monkeypatch.setattr(onnx_flow, "infer", infer)
    monkeypatch.setattr(onnx_flow, "SOME_ROWS", rows)
    scan(raw)
    for value, array in zip(made[1], wanted.values(), strict=True):
        assert value.shape == array.shape
        assert value.element == helper.np_dtype_to_tensor_dtype(array.dtype)
        if value.array is not None:
            np.testing.assert_allclose(value.array, array, rtol=1e-6)


def test_constants_are_followed_through_every_operator_that_the_engine_would_fold() -> None:
    """Where all operands are constants, the numbers are those of numpy, or are not known."""
    followed = set()
    for op, case in CASES.items():
        raw, feeds, wanted = build(op, case)
        model = onnx.load_from_string(raw)
        del model.graph.input[:]
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in feeds.items())
        made: list[Sequence[Value]] = []
        with pytest.MonkeyPatch.context() as patch:
            real = onnx_flow.infer
            patch.setattr(onnx_flow, "infer", lambda *a, real=real, made=made: made.append(real(*a)) or made[-1])  # type: ignore[func-returns-value]
            scan(model.SerializeToString())
        for value, array in zip(made[-1], wanted.values(), strict=True):
            assert value.static, op
            if value.array is not None:
                followed.add(op)
                np.testing.assert_allclose(value.array, array, rtol=1e-5, atol=1e-6, err_msg=op)
    moving = {"Reshape", "Concat", "Gather", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Split"}
    assert moving | {"Add", "Mul", "Sub", "Div", "Cast", "Shape", "Where", "Range", "ReduceProd", "Pow"} <= followed


def graph(
    nodes: Sequence[onnx.NodeProto], inputs: dict[str, tuple[int, list[Any]]] | None = None, **constants: Any
) -> bytes:
    infos = [helper.make_tensor_value_info(n, t, d) for n, (t, d) in (inputs or {"x": (1, ["batch", 3])}).items()]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])
    made = helper.make_graph(list(nodes), "g", infos, [output], weights)
    model = helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    return model.SerializeToString()


def refusal(raw: bytes) -> str:
    with pytest.raises(GraphRefused) as caught:
        scan(raw)
    return str(caught.value)


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(","), outputs.split(","), **attributes)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


SIZED = [
    ("ConstantOfShape", "s", ints(BIG)),
    ("Expand", "x,s", ints(BIG, 1, 1)),
    ("Tile", "x,s", ints(1, BIG)),
    ("Pad", "x,s", ints(0, 0, 0, BIG)),
    ("OneHot", "x,s,ends", np.array(BIG, np.int64)),
    ("Range", "zero,s,one", np.array(BIG, np.int64)),
    ("Resize", "x,,,s", ints(1, BIG)),
]
DISGUISES: dict[str, list[onnx.NodeProto]] = {
    "plain": [node("Identity", "c", "s")],
    "cast": [node("Cast", "c", "f", to=TensorProto.DOUBLE), node("Cast", "f", "s", to=TensorProto.INT64)],
    "sum": [node("Add", "c,c", "d"), node("Sub", "d,c", "s")],
    "product": [node("Mul", "c,one", "s")],
    "root": [node("Cast", "c", "f", to=TensorProto.DOUBLE), node("Sqrt", "f", "g"), node("Mul", "g,g", "h"),
             node("Round", "h", "i"), node("Cast", "i", "s", to=TensorProto.INT64)],
    "where": [node("Equal", "one,one", "t"), node("Where", "t,c,one", "s")],
    "negated": [node("Neg", "c", "n"), node("Abs", "n", "s")],
    "from the shape of a row": [node("Shape", "x", "shape"), node("Gather", "shape,one", "three"),
                                node("Div", "three,three", "o"), node("Mul", "c,o", "s")],
    "from the number of rows": [node("Shape", "x", "shape"), node("Gather", "shape,zero", "rows"),
                                node("Mul", "c,rows", "s")],
    "only where there are many rows": [node("Shape", "x", "shape"), node("Gather", "shape,zero", "rows"),
                                       node("Sub", "rows,one", "more"), node("Mul", "c,more", "s")],
}  # fmt: skip


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(("op", "inputs", "size"), SIZED, ids=[case[0] for case in SIZED])
def test_a_size_that_the_graph_works_out_is_refused_as_a_literal_would_be(
    op: str, inputs: str, size: Any, disguise: str
) -> None:
    x = {"x": (7, ["batch", 3])} if op == "OneHot" else None
    constants = {"c": size, "one": np.int64(1), "zero": np.int64(0), "ends": np.array([0.0, 1.0], np.float32)}
    said = refusal(graph([*DISGUISES[disguise], node(op, inputs)], x, **constants))
    assert f"({op} " in said
    assert re.search(r"asks for \d+ elements; the limit is|does not follow|without elements|do not fit", said), said


@pytest.mark.parametrize(("op", "inputs", "size"), SIZED, ids=[case[0] for case in SIZED])
def test_a_size_that_comes_out_of_a_row_is_refused(op: str, inputs: str, size: Any) -> None:
    nodes = [node("Cast", "x", "k", to=TensorProto.INT64), node("ReduceMax", "k", "m", keepdims=0),
             node("Mul", "c,m", "s"), node(op, inputs)]  # fmt: skip
    constants = {"c": size, "one": np.int64(1), "zero": np.int64(0), "ends": np.array([0.0, 1.0], np.float32)}
    with pytest.raises(GraphRefused, match=f"{op}.*known only when it runs"):
        scan(graph(nodes, {"x": (7, ["batch", 3])}, **constants))


def test_products_of_weights_are_sizes_too() -> None:
    column, row = np.zeros((1 << 15, 1), np.float32), np.zeros((1, 1 << 15), np.float32)
    for op in ("MatMul", "Add", "Mul", "Where"):
        inputs = "t,a,b" if op == "Where" else "a,b"
        with pytest.raises(GraphRefused, match=f"{op}.*asks for {1 << 30} elements"):
            scan(graph([node(op, inputs)], a=column, b=row, t=np.array(True)))
    nodes = [node("Concat", "a,a", "b0", axis=0)]
    nodes += [node("Concat", f"b{i},b{i}", f"b{i + 1}", axis=0) for i in range(20)]
    assert "Concat" in refusal(graph(nodes, a=column))


def test_what_people_export_is_not_refused() -> None:
    """A batch taken from a shape, as exporters write it."""
    nodes = [node("Shape", "x", "shape"), node("Gather", "shape,zero", "rows"), node("Unsqueeze", "rows,axis", "r"),
             node("Concat", "r,rest", "wanted", axis=0), node("Expand", "w,wanted", "e"),
             node("Reshape", "e,flat", "y")]  # fmt: skip
    w = np.zeros((1, 1, 512, 512), np.float32)
    largest = MAX_ELEMENTS // (512 * 512)
    constants = {"zero": np.int64(0), "axis": ints(0), "rest": ints(largest, 512, 512), "flat": ints(0, -1), "w": w}
    assert scan(graph(nodes, **constants)).nodes == 6
    constants["rest"] = ints(largest + 1, 512, 512)
    with pytest.raises(GraphRefused, match=f"Expand.*asks for {MAX_ELEMENTS + 512 * 512} elements"):
        scan(graph(nodes, **constants))


def test_nodes_in_another_order_unknown_names_and_names_made_twice_are_refused() -> None:
    first, second = node("Abs", "x", "h"), node("Abs", "h", "y")
    assert scan(graph([first, second])).nodes == 2
    for nodes, problem in (
        ([second, first], "takes 'h', which nothing before it makes"),
        ([node("Abs", "nowhere")], "takes 'nowhere'"),
        ([first, node("Neg", "x", "h"), second], "makes 'h', which there is already"),
        ([node("Abs", "x", "x")], "makes 'x', which there is already"),
    ):
        with pytest.raises(GraphRefused, match=problem):
            scan(graph(nodes))


def recurrent(op: str, x: str = "x", *, shape: tuple[int, int, int] = (2, 3, 4), **change: Any) -> bytes:
    """One recurrent node over (rows, 5, 3), with weights for a hidden size of 4."""
    directions, _, hidden = shape
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op] * hidden
    constants = {
        "w": np.zeros((directions, gates, 3), np.float32),
        "r": np.zeros((directions, gates, hidden), np.float32),
    } | {name: change.pop(name) for name in ("w", "r", "s", "e", "lengths", "b") if name in change}
    attributes = {"hidden_size": hidden, "direction": "bidirectional", "layout": 0} | change
    inputs = f"{x},w,r,{'b' if 'b' in constants else ''},{'lengths' if 'lengths' in constants else ''}"
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node(op, inputs, "h", **attributes),
             node("ReduceSum", "h", "y", keepdims=0)]  # fmt: skip
    if x == "cut":
        nodes.insert(1, node("Slice", "t,s,e,one", "cut"))
    return graph(nodes, {"x": (1, ["batch", 5, 3])}, one=ints(1), **constants)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers_over_no_rows_or_with_other_weights_never_reach_an_engine(op: str) -> None:
    assert scan(recurrent(op, "t"))
    zeros = np.zeros((2, 4, 4), np.float32)
    bad: dict[str, bytes] = {
        "no rows": recurrent(op, "cut", s=ints(0), e=ints(0)),
        "hidden size": recurrent(op, "t", hidden_size=1 << 20),
        "negative hidden size": recurrent(op, "t", hidden_size=-1),
        "layout": recurrent(op, "t", layout=1 << 30),
        "direction": recurrent(op, "t", direction="forward"),
        "recurrence weights": recurrent(op, "t", r=zeros[:, :, :3]),
        "weights without a dimension": recurrent(op, "t", w=zeros[0]),
        "empty weights": recurrent(op, "t", w=zeros[:, :0], r=zeros[:, :0]),
        "bias": recurrent(op, "t", b=np.zeros((2, 1), np.float32)),
        "lengths": recurrent(op, "t", lengths=np.array([1 << 30], np.int32)),
    }
    for name, raw in bad.items():
        assert op in (said := refusal(raw)) or "without elements" in said, name


@pytest.mark.parametrize(
    ("op", "attributes", "shape", "problem"),
    [
        ("GatherND", {"batch_dims": -1}, (1, 2), "batch_dims -1"),
        ("GatherND", {"batch_dims": 2}, (1, 2), "batch_dims 2"),
        ("GatherND", {"batch_dims": 1 << 40}, (1, 2), "batch_dims"),
        ("GatherND", {"batch_dims": -(1 << 62)}, (1, 2), "batch_dims"),
        ("GatherND", {}, (1, 3), "indices of shape"),
        ("GatherND", {}, (), "indices of shape"),
        ("GatherND", {}, (2, 0), "indices of shape"),
    ],
)
def test_batch_dims_and_depth_of_indices_are_in_range(
    op: str, attributes: dict[str, int], shape: tuple[int, ...], problem: str
) -> None:
    with pytest.raises(GraphRefused, match=problem):
        scan(graph([node(op, "x,i", **attributes)], i=np.zeros(shape, np.int64)))


@pytest.mark.parametrize("index", [10**9, -(10**9), 3, -4, 1 << 62, -(1 << 63)])
@pytest.mark.parametrize("op", ["Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"])
@pytest.mark.parametrize("size", [2, 5000])
def test_a_constant_index_outside_its_axis_is_refused(op: str, index: int, size: int) -> None:
    def raw(index: int) -> bytes:
        indices = np.zeros((1, size), np.int64)
        indices[0, -1] = index
        if op in ("GatherND", "ScatterND"):
            indices = np.stack([np.zeros(size, np.int64), indices[0]], axis=1)
        inputs = "x,i" if op.startswith("Gather") else "x,i,u"
        attributes = {} if op.endswith("ND") else {"axis": 1}
        updates = np.zeros(size if op == "ScatterND" else (1, size), np.float32)
        return graph([node(op, inputs, **attributes)], i=indices, u=updates)

    assert scan(raw(2)).nodes == scan(raw(-3)).nodes == 1
    with pytest.raises(GraphRefused, match=rf"{op}.*has indices from .* into 3"):
        scan(raw(index))


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.int8])
def test_integers_are_divided_by_constants_that_are_not_zero(op: str, kind: Any) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    x = {"x": (element, ["batch", 3])}
    assert scan(graph([node(op, "x,d")], x, d=kind([3])))
    bad = [kind([0]), kind([1, 2, 0])] + ([kind([-1])] if kind is not np.uint8 else [])
    for divisor in bad:
        with pytest.raises(GraphRefused, match="divides integers by 0 or by -1"):
            scan(graph([node(op, "x,d")], x, d=divisor))
        with pytest.raises(GraphRefused, match="divides integers by 0 or by -1"):
            scan(graph([node("Identity", "d", "e"), node(op, "x,e")], x, d=divisor))
    with pytest.raises(GraphRefused, match="known only when it runs"):
        scan(graph([node(op, "x,x")], x))
    with pytest.raises(GraphRefused, match="divides integers by 0"):
        scan(graph([node(op, "x,d")], {"x": (element, ["batch", 5000])}, d=np.arange(5000).astype(kind)))
    fmod = {"fmod": 1} if op == "Mod" else {}
    assert scan(graph([node(op, "x,x", **fmod)]))  # of floats


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Conv", {"strides": [0, 1]}), ("Conv", {"strides": [-1, 1]}), ("Conv", {"dilations": [0, 1]}),
        ("Conv", {"pads": [-1, 0, 0, 0]}), ("Conv", {"pads": [1 << 40, 0, 0, 0]}), ("Conv", {"group": 0}),
        ("Conv", {"kernel_shape": [0, 1]}), ("Conv", {"kernel_shape": [1 << 62, 1]}), ("Conv", {"group": -3}),
        ("ConvTranspose", {"output_padding": [-1, 0]}), ("ConvTranspose", {"output_shape": [1 << 40, 1]}),
        ("MaxPool", {"kernel_shape": [1 << 20, 1]}), ("AveragePool", {"kernel_shape": [-1, 1]}),
        ("DepthToSpace", {"blocksize": 0}), ("SpaceToDepth", {"blocksize": -2}), ("LRN", {"size": 0}),
        ("Softmax", {"axis": 1 << 40}), ("Concat", {"axis": -(1 << 40)}), ("Cast", {"to": 8}), ("Cast", {"to": 16}),
        ("Split", {"num_outputs": 0}),
    ],
)  # fmt: skip
def test_attributes_that_no_layer_has_are_refused(op: str, attributes: dict[str, Any]) -> None:
    inputs = "x,w" if op.startswith("Conv") else "x"
    raw = graph([node(op, inputs, **attributes)], {"x": (1, ["batch", 4, 8, 8])}, w=np.zeros((4, 4, 3, 3), np.float32))
    with pytest.raises(GraphRefused, match=f"node 0 .{op}"):
        scan(raw)


def test_the_most_rows_are_those_of_the_session() -> None:
    from vae_edge_runtime.graph_session import ROWS_PER_RUN

    assert MOST_ROWS == ROWS_PER_RUN
    assert X.shape[0] > 1  # operator cases look at more than one row


@pytest.mark.parametrize("op", sorted(ARITY))
def test_operands_that_may_be_left_out_are_those_of_onnx(op: str) -> None:
    kinds = onnx.defs.OpSchema.FormalParameterOption
    rows = []
    for opset in (17, 18):
        if onnx.defs.has(op, opset):
            schema = onnx.defs.get_schema(op, opset)
            optional = [i for i, x in enumerate(schema.inputs) if x.option == kinds.Optional]
            assert optional == list(range(schema.min_input, len(schema.inputs)))
            rows.append((schema.min_input, schema.max_input, schema.max_output))
    least, most, outputs = map(max, zip(*rows, strict=True))
    assert ARITY[op] == (least, min(most, VARIADIC), min(outputs, VARIADIC))


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("Min", "x,"), ("Max", ",x"), ("Sum", ""), ("Concat", "x,"), ("Add", "x,"), ("Where", "x,,x"), ("Conv", "x"),
     ("Abs", "x,x"), ("Slice", "x,,x"), ("LSTM", "x,x,"), ("Gemm", ",x"), ("LayerNormalization", "x,x,"),
     ("QLinearConv", "x,x,x,x,,x,x,x")],
)  # fmt: skip
def test_an_operand_that_is_needed_and_left_out_is_refused(op: str, inputs: str) -> None:
    attributes = {"axis": 1} if op == "Concat" else {}
    said = refusal(graph([node(op, inputs, **attributes)]))
    assert "lacks an input that it needs" in said or "inputs and 1 outputs" in said


def test_a_tensor_without_elements_is_refused_unless_it_is_a_constant() -> None:
    nodes = [node("Slice", "x,zero,zero,one", "cut"), node("Sigmoid", "cut")]
    assert "without elements" in refusal(graph(nodes, zero=ints(0), one=ints(1)))
    roi = np.zeros(0, np.float32)
    assert scan(graph([node("Resize", "x,roi,scales")], roi=roi, scales=np.array([1, 2], np.float32)))


@pytest.mark.parametrize("name", ["keepdims", "noop_with_empty_axes"])
def test_flags_are_zero_or_one(name: str) -> None:
    assert "it is 0 or 1" in refusal(graph([node("ReduceSum", "x", **{name: 2})]))


def test_windows_have_a_size_for_each_spatial_dimension() -> None:
    x = {"x": (1, ["batch", 4, 8, 8])}
    for attributes in ({"kernel_shape": [2]}, {"kernel_shape": [2, 2], "pads": [0, 0]}, {"kernel_shape": [1] * 3}):
        assert "for 2 spatial dimensions" in refusal(graph([node("MaxPool", "x", **attributes)], x))
    assert "it needs 3" in refusal(graph([node("GlobalAveragePool", "x")]))


@pytest.mark.parametrize(
    ("op", "value"),
    [("CumSum", np.int64(1 << 32)), ("CumSum", np.int64(-3)), ("CumSum", ints(0, 1)), ("TopK", ints()),
     ("TopK", ints(4)), ("TopK", ints(-1)), ("TopK", ints(1, 1)), ("Squeeze", ints()), ("Squeeze", ints(1)),
     ("Unsqueeze", ints(0, 0)), ("Unsqueeze", ints(1 << 40)), ("Split", ints(1, 1)), ("Split", ints(4, -1)),
     ("ReduceSum", ints(2)), ("ReduceSum", ints(-(1 << 40))), ("Reshape", ints(2, 2)), ("Reshape", ints(-1, -1)),
     ("Gather", np.int64(3)), ("Tile", ints(1)), ("Expand", ints(2))],
)  # fmt: skip
def test_an_operand_that_does_not_fit_its_operator_is_refused(op: str, value: Any) -> None:
    attributes = {"axis": 1} if op in ("Gather", "Split") else {}
    outputs = "y,z" if op in ("TopK", "Split") else "y"
    assert f"({op} " in refusal(graph([node(op, "x,k", outputs, **attributes)], k=value))


@pytest.mark.parametrize("op", ["CumSum", "TopK", "Squeeze", "Unsqueeze", "Split", "ReduceSum", "Reshape", "Slice"])
def test_an_operand_that_comes_out_of_a_row_is_refused(op: str) -> None:
    nodes = [node("Cast", "x", "k", to=TensorProto.INT64), node("Reshape", "k,flat", "f"),
             node("Slice", "f,zero,one", "s")]  # fmt: skip
    inputs = "x,s,s" if op == "Slice" else "x,s"
    assert f"({op} " in (said := refusal(graph([*nodes, node(op, inputs)], flat=ints(-1), zero=ints(0), one=ints(1))))
    assert "known only when it runs" in said


def test_a_constant_that_fits_one_number_of_rows_by_chance_is_refused() -> None:
    for rows in (2, 3, 61, 64):
        assert "do not fit" in refusal(graph([node("Add", "x,w")], w=np.zeros((rows, 3), np.float32)))
    assert scan(graph([node("Add", "x,w")], w=np.zeros((1, 3), np.float32)))
    assert "into 1" in refusal(graph([node("Gather", "x,i", axis=0)], i=ints(1)))  # the second row of every batch
