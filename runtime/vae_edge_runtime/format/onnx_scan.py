"""Look through an ONNX file before any engine sees it, with nothing but the wire format.

The tables below are the whole of ONNX a bundle may use. A field they do not name is refused,
and so is a second value of a field that holds one: protobuf would merge or overwrite, and two
readers could disagree. The one exception is ``ModelProto.graph``, whose merging is how
skeleton and weights join. Refusing is not a bound on time or memory; see SECURITY.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import GraphRefused
from ..record import record
from .onnx_ops import ALLOWED

IR_VERSION_MAX = 10
OPSET_MIN, OPSET_MAX = 17, 18
MAX_LITERAL_ELEMENTS = 1 << 28
"""Largest shape written into a graph as a constant."""

ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
_LITERAL_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3}

# Kinds of field: I varint, F fixed32, B bytes, S text; i, f, d: numbers, packed or one by one
# (d: fixed64); an upper-case name is one value, "*" before it is any number of them.
_MODEL = {1: "I", 2: "S", 3: "S", 4: "S", 5: "I", 6: "S", 7: "*B", 8: "*B", 14: "*B"}
_OPSET = {1: "S", 2: "I"}
_ENTRY = {1: "S", 2: "S"}
_GRAPH = {1: "*B", 2: "S", 5: "*B", 10: "S", 11: "*B", 12: "*B", 13: "*B", 16: "*B"}
_NODE = {1: "*S", 2: "*S", 3: "S", 4: "S", 5: "*B", 6: "S", 7: "S", 9: "*B"}
_ATTRIBUTE = {1: "S", 2: "F", 3: "I", 4: "B", 5: "B", 7: "f", 8: "i", 9: "*B", 10: "*B", 13: "S", 20: "I"}
_TENSOR = {1: "i", 2: "I", 4: "f", 5: "i", 7: "i", 8: "S", 9: "B", 10: "d", 11: "i", 12: "S", 14: "I", 16: "*B"}
_VALUE_INFO = {1: "S", 2: "B", 3: "S", 4: "*B"}
_TYPE = {1: "B", 6: "S"}
_TENSOR_TYPE = {1: "I", 2: "B"}
_SHAPE = {1: "*B"}
_DIMENSION = {1: "I", 2: "S", 3: "S"}

_FORBIDDEN = {  # what a reader of the message will want to know by name
    ("model", 20): "training information",
    ("model", 25): "local functions",
    ("graph", 14): "quantization annotations",
    ("graph", 15): "sparse initializers",
    ("node", 8): "an operator overload",
    ("attribute", 6): "a subgraph",
    ("attribute", 11): "subgraphs",
    ("attribute", 21): "a reference to a function's attribute",
    ("attribute", 22): "a sparse tensor",
    ("attribute", 23): "sparse tensors",
    ("tensor", 3): "a tensor segment",
    ("tensor", 6): "a string tensor",
    ("tensor", 13): "external data",
}


@record(frozen=True)
class ValueFacts:
    """An input or output: a dimension is a number, a name, or None where nothing is said."""

    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


@record(frozen=True)
class GraphFacts:
    """What ``scan`` saw in a graph it did not refuse."""

    ir_version: int
    opset: int
    ops: frozenset[str]
    inputs: tuple[ValueFacts, ...]
    outputs: tuple[ValueFacts, ...]
    nodes: int
    initializers: int
    initializer_bytes: int
    metadata: dict[str, str]


def scan(raw: bytes | memoryview) -> GraphFacts:
    """Check a serialised ONNX model, skeleton and weights joined.

    Raises:
        GraphRefused: malformed, or it holds something the device does not run; the message
            names it and where it is.
    """
    return _Scanner().model(memoryview(raw))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 64-bit varint at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise GraphRefused("the file ends inside a number: it is cut short or damaged")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise GraphRefused("a number is longer than 64 bits: the file is damaged")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


class _Message:
    """The fields of one message, by number."""

    def __init__(self) -> None:
        self.values: dict[int, list[int | memoryview]] = {}

    def integers(self, number: int) -> Iterator[int]:
        """Values of a numeric field, packed ones unpacked."""
        for value in self.values.get(number, []):
            if isinstance(value, int):
                yield _signed(value)
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                yield _signed(one)

    def integer(self, number: int, default: int = 0) -> int:
        return next(self.integers(number), default)

    def blobs(self, number: int) -> list[memoryview]:
        return [value for value in self.values.get(number, []) if isinstance(value, memoryview)]

    def texts(self, number: int) -> list[str]:
        return [str(value, "utf-8") for value in self.blobs(number)]

    def text(self, number: int) -> str:
        return next(iter(self.texts(number)), "")


_WIRE = {"I": (0,), "F": (5,), "B": (2,), "S": (2,), "i": (0, 2), "f": (5, 2), "d": (1, 2)}


_FIXED_BYTES = {1: 8, 5: 4}


def _parse(data: memoryview, table: dict[int, str], what: str, where: str) -> _Message:
    """Split one message into its fields, refusing what ``table`` does not say."""

    def refuse(problem: str) -> GraphRefused:
        return GraphRefused(f"{where}: {problem}")

    message, at, end = _Message(), 0, len(data)
    while at < end:
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        number, wire = tag >> 3, tag & 7
        kind = table.get(number)
        if kind is None:
            known = _FORBIDDEN.get((what, number))
            raise refuse(
                f"holds {known}, which a bundle may not" if known else f"holds the unknown field {number} of {what}"
            )
        if wire not in _WIRE[kind[-1]]:
            raise refuse(f"field {number} of {what} has wire type {wire}: the file is damaged")
        value: int | memoryview
        if wire == 0:
            value, at = (data[at], at + 1) if at < end and data[at] < 0x80 else _varint(data, at)
        else:
            size = _FIXED_BYTES.get(wire)
            if size is None:
                size, at = (data[at], at + 1) if at < end and data[at] < 0x80 else _varint(data, at)
            if size > end - at:
                raise refuse(f"field {number} of {what} is longer than the file: it is cut short or damaged")
            value = data[at : at + size]
            at += size
        if kind[-1] == "S":
            try:
                str(value, "utf-8")  # type: ignore[arg-type]
            except UnicodeDecodeError:
                raise refuse(f"a text in field {number} of {what} is not UTF-8") from None
        found = message.values.setdefault(number, [])
        if found and kind.isupper() and "*" not in kind:
            raise refuse(f"field {number} of {what} occurs twice")
        found.append(value)
    return message


class _Scanner:
    def __init__(self) -> None:
        self.inputs: list[ValueFacts] = []
        self.outputs: list[ValueFacts] = []
        self.ops: set[str] = set()
        self.nodes = 0
        self.initializers: set[str] = set()
        self.initializer_bytes = 0
        self.literals: dict[str, list[int]] = {}
        self.shapes_used: list[tuple[str, str]] = []

    def model(self, data: memoryview) -> GraphFacts:
        model = _parse(data, _MODEL, "model", "model")
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
        if both := self.initializers & {value.name for value in self.inputs}:
            raise GraphRefused(f"initializer {min(both)!r} is also an input, so a caller could replace a weight")
        self._check_literal_shapes()
        return GraphFacts(
            ir_version=ir_version,
            opset=opset,
            ops=frozenset(self.ops),
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            nodes=self.nodes,
            initializers=len(self.initializers),
            initializer_bytes=self.initializer_bytes,
            metadata=_metadata(model),
        )

    def _opset(self, model: _Message) -> int:
        versions = []
        for data in model.blobs(8):
            opset = _parse(data, _OPSET, "opset", "opset import")
            if opset.text(1) not in ("", "ai.onnx"):
                raise GraphRefused(f"operators of the domain {opset.text(1)!r}; only standard ONNX operators run here")
            versions.append(opset.integer(2))
        if len(versions) != 1:
            raise GraphRefused(f"{len(versions)} opset imports; there must be one")
        if not OPSET_MIN <= versions[0] <= OPSET_MAX:
            raise GraphRefused(f"opset {versions[0]}; this runtime runs {OPSET_MIN} to {OPSET_MAX}")
        return versions[0]

    def _graph(self, data: memoryview) -> None:
        graph = _parse(data, _GRAPH, "graph", "graph")
        self.inputs += [_value_info(blob) for blob in graph.blobs(11)]
        self.outputs += [_value_info(blob) for blob in graph.blobs(12)]
        for blob in graph.blobs(5):
            name, size, values = _tensor(blob, "initializer")
            if not name or name in self.initializers:
                raise GraphRefused(f"initializer {name!r} is nameless or occurs twice")
            self.initializers.add(name)
            self.initializer_bytes += size
            if values is not None:
                self.literals[name] = values
        for blob in graph.blobs(1):
            self._node(blob)

    def _node(self, data: memoryview) -> None:
        where = f"node {self.nodes}"
        node = _parse(data, _NODE, "node", where)
        op, domain = node.text(4), node.text(7)
        where = f"{where} ({op} {node.text(3)!r:.60})"
        if domain not in ("", "ai.onnx"):
            raise GraphRefused(f"{where}: operator of the domain {domain!r}; only standard ONNX operators run here")
        if op not in ALLOWED:
            raise GraphRefused(f"{where}: the operator {op!r:.60} is not one this runtime runs")
        names = set()
        for blob in node.blobs(5):
            attribute = _parse(blob, _ATTRIBUTE, "attribute", where)
            name = attribute.text(1)
            if name in names:
                raise GraphRefused(f"{where}: the attribute {name!r:.60} occurs twice")
            names.add(name)
            if name == "training_mode" and attribute.integer(3):
                raise GraphRefused(f"{where}: is in training mode, where the rows of a batch change each other")
            literal = list(attribute.integers(8)) if name == "value_ints" else None
            for tensor in attribute.blobs(5) + attribute.blobs(10):
                _, _, literal = _tensor(tensor, f"{where}, attribute {name!r:.60}")
            if op == "Constant" and literal is not None:
                self.literals.update(dict.fromkeys(node.texts(2), literal))
        inputs = node.texts(1)
        index = _LITERAL_SHAPE_INPUT.get(op, len(inputs))
        if index < len(inputs):
            self.shapes_used.append((inputs[index], where))
        self.ops.add(op)
        self.nodes += 1

    def _check_literal_shapes(self) -> None:
        for name, where in self.shapes_used:
            count = 1
            for n in self.literals.get(name, []):
                count *= max(abs(n), 1)
            if count > MAX_LITERAL_ELEMENTS:
                raise GraphRefused(f"{where}: asks for {count} elements; the limit is {MAX_LITERAL_ELEMENTS}")


def _metadata(model: _Message) -> dict[str, str]:
    entries = [_parse(data, _ENTRY, "metadata", "metadata") for data in model.blobs(14)]
    found = {entry.text(1): entry.text(2) for entry in entries}
    if len(found) != len(entries):
        raise GraphRefused("a metadata key occurs twice")
    return found


def _value_info(data: memoryview) -> ValueFacts:
    value = _parse(data, _VALUE_INFO, "value", "input or output")
    name = value.text(1)
    where = f"input or output {name!r:.60}"
    for kind in value.blobs(2):
        inner = next(iter(_parse(kind, _TYPE, "type", where).blobs(1)), memoryview(b""))
        tensor = _parse(inner, _TENSOR_TYPE, "tensor type", where)
        dtype = ELEMENT_TYPES.get(tensor.integer(1))
        if dtype is None or not tensor.blobs(2):
            break
        dims: list[int | str | None] = []
        for blob in _parse(tensor.blobs(2)[0], _SHAPE, "shape", where).blobs(1):
            dim = _parse(blob, _DIMENSION, "dimension", where)
            dims.append(dim.integer(1) if 1 in dim.values else dim.text(2) or None)
        return ValueFacts(name, dtype, tuple(dims))
    raise GraphRefused(f"{where} is not a tensor of a known type and shape")


def _tensor(data: memoryview, where: str) -> tuple[str, int, list[int] | None]:
    """Name, size in bytes, and the values where it is a short int64 vector."""
    tensor = _parse(data, _TENSOR, "tensor", where)
    where = f"{where} {tensor.text(8)!r:.60}"
    if tensor.integer(14) != 0:
        raise GraphRefused(f"{where}: its data lies outside the file (external data), which a bundle may not")
    kind, dims = tensor.integer(2), list(tensor.integers(1))
    if kind not in _ITEM_BYTES:
        raise GraphRefused(f"{where}: element type {kind} is not one of {', '.join(ELEMENT_TYPES.values())}")
    count = 1
    for n in dims:
        count *= n
    if any(n < 0 for n in dims) or count >= 1 << 31:
        raise GraphRefused(f"{where}: {dims} is not a shape below 2**31 elements")
    size, raw = count * _ITEM_BYTES[kind], tensor.blobs(9)
    if raw and len(raw[0]) != size:
        raise GraphRefused(f"{where}: {len(raw[0])} bytes of data for {size}")
    if kind != 7 or len(dims) != 1 or count > 16:
        return tensor.text(8), size, None
    values = [int.from_bytes(raw[0][i : i + 8], "little", signed=True) for i in range(0, size, 8)] if raw else []
    return tensor.text(8), size, values or list(tensor.integers(7))
