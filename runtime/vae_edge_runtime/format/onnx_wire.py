"""The wire format of protobuf, and the whole of ONNX that a bundle may use, as tables.

A field the tables do not name is refused, and so is a second value of a field that holds one: protobuf would
merge or overwrite, and two readers could disagree. The one exception is ``ModelProto.graph``, whose merging is
how skeleton and weights join.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import GraphRefused
from .limits import MAX_FIELDS

# Kinds of field: I varint, F fixed32, B bytes, S text; i, f, d: numbers, packed or one by one
# (d: fixed64); an upper-case name is one value, "*" before it is any number of them.
MODEL = {1: "I", 2: "S", 3: "S", 4: "S", 5: "I", 6: "S", 7: "*B", 8: "*B", 14: "*B"}
OPSET = {1: "S", 2: "I"}
ENTRY = {1: "S", 2: "S"}
GRAPH = {1: "*B", 2: "S", 5: "*B", 10: "S", 11: "*B", 12: "*B", 13: "*B", 16: "*B"}
NODE = {1: "*S", 2: "*S", 3: "S", 4: "S", 5: "*B", 6: "S", 7: "S", 9: "*B"}
ATTRIBUTE = {1: "S", 2: "F", 3: "I", 4: "B", 5: "B", 7: "f", 8: "i", 9: "*B", 10: "*B", 13: "S", 20: "I"}
TENSOR = {1: "i", 2: "I", 4: "f", 5: "i", 7: "i", 8: "S", 9: "B", 10: "d", 11: "i", 12: "S", 14: "I", 16: "*B"}
VALUE_INFO = {1: "S", 2: "B", 3: "S", 4: "*B"}
TYPE = {1: "B", 6: "S"}
TENSOR_TYPE = {1: "I", 2: "B"}
SHAPE = {1: "*B"}
DIMENSION = {1: "I", 2: "S", 3: "S"}

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
_WIRE = {"I": (0,), "F": (5,), "B": (2,), "S": (2,), "i": (0, 2), "f": (5, 2), "d": (1, 2)}
_FIXED_BYTES = {1: 8, 5: 4}


def varint(data: memoryview, at: int) -> tuple[int, int]:
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


class Message:
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
                one, at = varint(value, at)
                yield _signed(one)

    def integer(self, number: int, default: int = 0) -> int:
        """The first value of a numeric field."""
        return next(self.integers(number), default)

    def blobs(self, number: int) -> list[memoryview]:
        """Values of a field of bytes, in order."""
        return [value for value in self.values.get(number, []) if isinstance(value, memoryview)]

    def texts(self, number: int) -> list[str]:
        """Values of a field of text, in order."""
        return [str(value, "utf-8") for value in self.blobs(number)]

    def text(self, number: int) -> str:
        """The first value of a field of text."""
        return next(iter(self.texts(number)), "")


def parse(data: memoryview, table: dict[int, str], what: str, where: str) -> Message:
    """Split one message into its fields.

    Raises:
        GraphRefused: malformed, a field that ``table`` does not have, a second value where it has one, or more
            fields than a graph that somebody trained ever has.
    """

    def refuse(problem: str) -> GraphRefused:
        return GraphRefused(f"{where}: {problem}")

    message, at, end, fields = Message(), 0, len(data), 0
    while at < end:
        fields += 1
        if fields > MAX_FIELDS:
            raise refuse(f"holds more than {MAX_FIELDS} fields of {what}")
        tag, at = (data[at], at + 1) if data[at] < 0x80 else varint(data, at)
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
            value, at = (data[at], at + 1) if at < end and data[at] < 0x80 else varint(data, at)
        else:
            size = _FIXED_BYTES.get(wire)
            if size is None:
                size, at = (data[at], at + 1) if at < end and data[at] < 0x80 else varint(data, at)
            if size > end - at:
                raise refuse(f"field {number} of {what} is longer than the file: it is cut short or damaged")
            value = data[at : at + size]
            at += size
        if kind[-1] == "S":
            try:
                str(value, "utf-8")  # type: ignore[arg-type]
            except UnicodeDecodeError:
                raise refuse(f"a text in field {number} of {what} is not UTF-8") from None
        values = message.values.setdefault(number, [])
        if values and kind.isupper() and "*" not in kind:
            raise refuse(f"field {number} of {what} occurs twice")
        values.append(value)
    return message
