"""Look through an ONNX file before any engine sees it, with nothing but the wire format.

``onnx_wire`` says which fields there may be, ``onnx_ops`` which operators; ``onnx_flow`` follows shapes and small
constants through the nodes and refuses sizes and attributes that engines do not check. Refusing is not a bound on
time or memory; see SECURITY.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import GraphRefused
from ..record import record
from .limits import (
    IR_VERSION_MAX,
    MAX_ELEMENTS,
    MAX_INITIALIZERS,
    MAX_KNOWN_ELEMENTS,
    MAX_NODES,
    MAX_RANK,
    MAX_TENSOR_ELEMENTS,
    OPSET_MAX,
    OPSET_MIN,
    product,
)
from .onnx_flow import GraphNode, follow
from .onnx_ops import ALLOWED
from .onnx_values import FLOAT, INT8, INT64, NUMPY_TYPES, Array, Value, known
from .onnx_wire import (
    ATTRIBUTE,
    DIMENSION,
    ENTRY,
    GRAPH,
    MODEL,
    NODE,
    OPSET,
    SHAPE,
    TENSOR,
    TENSOR_TYPE,
    TYPE,
    VALUE_INFO,
    Message,
    parse,
)

ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
_LITERAL_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3}
_NUMBER_OF_TYPE = {name: number for number, name in ELEMENT_TYPES.items()}


@record(frozen=True)
class ValueFacts:
    """An input or output: a dimension is a number, a name, or None where nothing is said."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


@record(frozen=True)
class GraphFacts:
    """What ``scan`` saw in a graph it did not refuse.

    Attributes:
        signed_weights: 8-bit weights have a sign, so that some engines add up their products in 16 bits.
        row_bytes: of the values that one row needs at the same time, the most; an engine needs this much a row.
    """

    ir_version: int
    opset: int
    ops: frozenset[str]
    inputs: tuple[ValueFacts, ...]
    outputs: tuple[ValueFacts, ...]
    nodes: int
    initializers: int
    initializer_bytes: int
    metadata: dict[str, str]
    signed_weights: bool = False
    row_bytes: int = 0


def scan(
    raw: bytes | memoryview,
    check: Callable[[GraphFacts], None] | None = None,
    sizes: Sequence[Mapping[str, int]] = ({},),
) -> GraphFacts:
    """Check a serialised ONNX model, skeleton and weights joined.

    Args:
        raw: the file.
        check: what else the facts must be; called before shapes are followed through the nodes.
        sizes: of named dimensions beside the rows; shapes are followed once for each. ``row_bytes`` is of the first.

    Raises:
        GraphRefused: malformed, or it holds something the device does not run; the message
            names it and where it is.
    """
    return _Scanner().model(memoryview(raw), check, sizes)


class _Scanner:
    def __init__(self) -> None:
        self.inputs: list[ValueFacts] = []
        self.outputs: list[ValueFacts] = []
        self.nodes: list[GraphNode] = []
        self.constants: dict[str, Value] = {}
        self.initializer_bytes = 0

    def model(
        self, data: memoryview, check: Callable[[GraphFacts], None] | None, sizes: Sequence[Mapping[str, int]]
    ) -> GraphFacts:
        model = parse(data, MODEL, "model", "model")
        ir_version = model.integer(1)
        if not 1 <= ir_version <= IR_VERSION_MAX:
            raise GraphRefused(f"IR version {ir_version}; this runtime reads 1 to {IR_VERSION_MAX}")
        opset = self._opset(model)
        if not model.blobs(7):
            raise GraphRefused("there is no graph in the file")
        for part in model.blobs(7):
            self._graph(part)
        for named in (self.inputs, self.outputs):
            names = [value.name for value in named]
            if len(set(names)) != len(names):
                raise GraphRefused("two inputs or two outputs have one name")
        if both := self.constants.keys() & {value.name for value in self.inputs}:
            raise GraphRefused(f"initializer {min(both)!r:.80} is also an input, so a caller could replace a weight")
        self._check_literal_shapes()
        facts = GraphFacts(
            ir_version=ir_version,
            opset=opset,
            ops=frozenset(node.op for node in self.nodes),
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            nodes=len(self.nodes),
            initializers=len(self.constants),
            initializer_bytes=self.initializer_bytes,
            metadata=_metadata(model),
            signed_weights=any(map(self._has_signed_weights, self.nodes)),
        )
        if check:
            check(facts)
        inputs = {value.name: (_NUMBER_OF_TYPE[value.dtype], value.dims) for value in self.inputs}
        row_bytes = [follow(self.nodes, inputs, self.constants, opset, each) for each in sizes]
        return replace(facts, row_bytes=row_bytes[0])

    def _opset(self, model: Message) -> int:
        versions = []
        for data in model.blobs(8):
            opset = parse(data, OPSET, "opset", "opset import")
            if opset.text(1) not in ("", "ai.onnx"):
                raise GraphRefused(f"operators of the domain {opset.text(1)!r}; only standard ONNX operators run here")
            versions.append(opset.integer(2))
        if len(versions) != 1:
            raise GraphRefused(f"{len(versions)} opset imports; there must be one")
        if not OPSET_MIN <= versions[0] <= OPSET_MAX:
            raise GraphRefused(f"opset {versions[0]}; this runtime runs {OPSET_MIN} to {OPSET_MAX}")
        return versions[0]

    def _graph(self, data: memoryview) -> None:
        graph = parse(data, GRAPH, "graph", "graph")
        self.inputs += [_value_info(blob) for blob in graph.blobs(11)]
        self.outputs += [_value_info(blob) for blob in graph.blobs(12)]
        for blob in graph.blobs(5):
            name, size, value = _tensor(blob, "initializer")
            if not name or name in self.constants:
                raise GraphRefused(f"initializer {name!r:.80} is nameless or occurs twice")
            if len(self.constants) == MAX_INITIALIZERS:
                raise GraphRefused(f"there are more than {MAX_INITIALIZERS} initializers")
            self.constants[name] = value
            self.initializer_bytes += size
        for blob in graph.blobs(1):
            self._node(blob)

    def _node(self, data: memoryview) -> None:
        where = f"node {len(self.nodes)}"
        if len(self.nodes) == MAX_NODES:
            raise GraphRefused(f"there are more than {MAX_NODES} nodes")
        node = parse(data, NODE, "node", where)
        op, domain = node.text(4), node.text(7)
        where = f"{where} ({op[:60]} {node.text(3)!r:.60})"
        if domain not in ("", "ai.onnx"):
            raise GraphRefused(f"{where}: operator of the domain {domain!r:.60}; only standard ONNX operators run here")
        if op not in ALLOWED:
            raise GraphRefused(f"{where}: the operator {op!r:.60} is not one this runtime runs")
        attributes: dict[str, Message] = {}
        constant = None
        for blob in node.blobs(5):
            attribute = parse(blob, ATTRIBUTE, "attribute", where)
            name = attribute.text(1)
            if name in attributes:
                raise GraphRefused(f"{where}: the attribute {name!r:.60} occurs twice")
            attributes[name] = attribute
            if name == "training_mode" and attribute.integer(3):
                raise GraphRefused(f"{where}: is in training mode, where the rows of a batch change each other")
            for tensor in attribute.blobs(5) + attribute.blobs(10):
                _, _, constant = _tensor(tensor, f"{where}, attribute {name!r:.60}")
        if op == "Constant" and constant is None:
            constant = _plain_constant(attributes)
        self.nodes.append(GraphNode(where, op, node.texts(1), node.texts(2), attributes, constant))

    def _has_signed_weights(self, node: GraphNode) -> bool:
        weights = self.constants.get(node.inputs[0]) if node.op == "DequantizeLinear" and node.inputs else None
        return weights is not None and weights.element == INT8

    def _check_literal_shapes(self) -> None:
        """What a literal asks for, also where the shape that it is joined with is not known."""
        literals = {name: value for node in self.nodes if node.op == "Constant" and (value := node.constant)
                    for name in node.outputs}  # fmt: skip
        for node in self.nodes:
            index = _LITERAL_SHAPE_INPUT.get(node.op, len(node.inputs))
            name = node.inputs[index] if index < len(node.inputs) else ""
            literal = self.constants.get(name) or literals.get(name)
            if literal and (count := product(literal.integers() or (), MAX_ELEMENTS)) > MAX_ELEMENTS:
                raise GraphRefused(f"{node.where}: asks for {count} elements; the limit is {MAX_ELEMENTS}")


def _plain_constant(attributes: dict[str, Message]) -> Value | None:
    """The value of a Constant that is written as numbers and not as a tensor."""
    for name, field in (("value_int", 3), ("value_ints", 8)):
        if name in attributes:
            numbers = list(attributes[name].integers(field))
            if len(numbers) > MAX_KNOWN_ELEMENTS:
                return Value((len(numbers),), INT64, static=True)
            # An attribute may lack its number: what an engine makes of it is not known here.
            return known(np.array(numbers, np.int64).reshape(() if name == "value_int" and len(numbers) == 1 else -1))
    for name, field in (("value_float", 2), ("value_floats", 7)):
        if name in attributes:
            floats = np.frombuffer(b"".join(attributes[name].blobs(field)), "<f4")
            if floats.size > MAX_KNOWN_ELEMENTS:
                return Value(floats.shape, FLOAT, static=True)
            return known(floats.reshape(()) if name == "value_float" and floats.size == 1 else floats)
    return None


def _metadata(model: Message) -> dict[str, str]:
    entries = [parse(data, ENTRY, "metadata", "metadata") for data in model.blobs(14)]
    metadata = {entry.text(1): entry.text(2) for entry in entries}
    if len(metadata) != len(entries):
        raise GraphRefused("a metadata key occurs twice")
    return metadata


def _value_info(data: memoryview) -> ValueFacts:
    value = parse(data, VALUE_INFO, "value", "input or output")
    name = value.text(1)
    where = f"input or output {name!r:.60}"
    for kind in value.blobs(2):
        inner = next(iter(parse(kind, TYPE, "type", where).blobs(1)), memoryview(b""))
        tensor = parse(inner, TENSOR_TYPE, "tensor type", where)
        dtype = ELEMENT_TYPES.get(tensor.integer(1))
        if dtype is None or not tensor.blobs(2):
            break
        dims: list[int | str | None] = []
        for blob in parse(tensor.blobs(2)[0], SHAPE, "shape", where).blobs(1):
            dim = parse(blob, DIMENSION, "dimension", where)
            dims.append(dim.integer(1) if 1 in dim.values else dim.text(2) or None)
        return ValueFacts(name, dtype, tuple(dims))
    raise GraphRefused(f"{where} is not a tensor of a known type and shape")


def _tensor(data: memoryview, where: str) -> tuple[str, int, Value]:
    """Name, size in bytes, and what is known of a constant; its numbers where they are few."""
    tensor = parse(data, TENSOR, "tensor", where)
    name = tensor.text(8)
    where = f"{where} {name!r:.60}"
    if tensor.integer(14) != 0:
        raise GraphRefused(f"{where}: its data lies outside the file (external data), which a bundle may not")
    element, dims = tensor.integer(2), []
    if element not in _ITEM_BYTES:
        raise GraphRefused(f"{where}: element type {element} is not one of {', '.join(ELEMENT_TYPES.values())}")
    for n in tensor.integers(1):
        dims.append(n)
        if n < 0 or len(dims) > MAX_RANK:
            raise GraphRefused(f"{where}: {dims[:MAX_RANK]} is not a shape of at most {MAX_RANK} dimensions")
    if product(dims, MAX_TENSOR_ELEMENTS) > MAX_TENSOR_ELEMENTS:
        raise GraphRefused(f"{where}: {dims} is not a shape below 2**31 elements")
    count = 0 if 0 in dims else product(dims, MAX_TENSOR_ELEMENTS)
    size, raw = count * _ITEM_BYTES[element], tensor.blobs(9)
    if raw and len(raw[0]) != size:
        raise GraphRefused(f"{where}: {len(raw[0])} bytes of data for {size}")
    array = _numbers(tensor, element, raw[0] if raw else None) if count <= MAX_KNOWN_ELEMENTS else None
    if array is not None:
        array = array.reshape(dims) if array.size == count else None
    value = Value(tuple(dims), element, static=True, array=array, raw=raw[0] if raw else None)
    return name, size, value


_TYPED_FIELD = {1: 4, 11: 10, 7: 7, 2: 5, 3: 5, 6: 5, 9: 5}
"""Of a tensor whose numbers are not raw bytes."""


def _numbers(tensor: Message, element: int, raw: memoryview | None) -> Array | None:
    kind = np.dtype(NUMPY_TYPES[element])
    if raw is not None:
        return np.frombuffer(raw, kind.newbyteorder("<")).astype(kind)
    field = _TYPED_FIELD.get(element)
    if field is None or not tensor.values.get(field):
        return np.zeros(0, kind)
    if field in (4, 10):
        blob = b"".join(tensor.blobs(field))
        return np.frombuffer(blob[: len(blob) // kind.itemsize * kind.itemsize], kind.newbyteorder("<")).astype(kind)
    numbers = []
    for n in tensor.integers(field):
        numbers.append(n)
        if len(numbers) > MAX_KNOWN_ELEMENTS:
            return None
    return np.array(numbers, np.int64).astype(kind)
