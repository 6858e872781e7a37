"""Write ``runtime/js/src/tables.js``: what the JavaScript reader takes from the Python runtime, as data.

    python tests/js/js_tables.py

The keys and types of the manifest come from ``docs/manifest.schema.json``. Heads, limits and the tables of the
graph scanner come from the modules of the runtime. ``test_js_tables.py`` compares the file with what this writes.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from vae_edge_runtime import __version__
from vae_edge_runtime.format import limits, onnx_flow, onnx_ops, onnx_ranges, onnx_scan, onnx_shapes, onnx_wire
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.specs import ELEMENT_SIZE_BYTES
from vae_edge_runtime.format.strict_json import is_optional
from vae_edge_runtime.format.upgrade import UPGRADES
from vae_edge_runtime.record import field_types

ROOT = Path(__file__).parents[2]
SCHEMA, TARGET = ROOT / "docs" / "manifest.schema.json", ROOT / "runtime" / "js" / "src" / "tables.js"
HEAD_FIELDS = (
    "computed", "in_nats", "is_term", "needs_kl", "reads_codes", "statistic", "may_be_default",
    "may_decide",
)  # fmt: skip


def text() -> str:
    """The module."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    objects = {"Manifest": schema, **schema["$defs"]}
    tables: dict[str, Any] = {
        "VERSION": __version__,
        "SCHEMA_VERSION": schema["properties"]["schema_version"]["const"],
        "UPGRADES": {version: step.__name__ for version, step in UPGRADES.items()},
        "OBJECTS": {name: _fields(definition) for name, definition in objects.items()},
        "DEFAULTS": {cls.__name__: made for cls in sorted(classes(), key=str) if (made := _defaults(cls))},
        "HEADS": {name: {field: getattr(head, field) for field in HEAD_FIELDS} for name, head in HEADS.items()},
        "ELEMENT_SIZE_BYTES": ELEMENT_SIZE_BYTES,
        "LIMITS": {name: value for name, value in vars(limits).items() if name.isupper()},
        "ARITY": {op: onnx_ops.ARITY[op] for op in sorted(onnx_ops.ALLOWED)},
        "NO_GAPS": sorted(onnx_ops.NO_GAPS),
        "WIRE": {name: getattr(onnx_wire, name) for name in _WIRE},
        "FORBIDDEN": {f"{what} {number}": words for (what, number), words in onnx_wire._FORBIDDEN.items()},
        "ELEMENT_TYPES": onnx_scan.ELEMENT_TYPES,
        "LITERAL_SHAPE_INPUT": onnx_scan._LITERAL_SHAPE_INPUT,
        "TYPED_FIELD": onnx_scan._TYPED_FIELD,
        "SIZED": onnx_ranges.SIZED,
        "SHAPED": onnx_ranges._SHAPED,
        "GATES": onnx_ranges._GATES,
        "FLAGS": sorted(onnx_ranges._FLAGS),
        "SPATIAL": sorted(onnx_ranges._SPATIAL),
        "WINDOWS": onnx_ranges._WINDOWS,
        "FIXED_ELEMENT": onnx_shapes._FIXED,
        "ELEMENT_OF_INPUT": onnx_shapes._OF_INPUT,
        "BOOLEAN": sorted(onnx_shapes._BOOLEAN),
        "SOME_ROWS": onnx_flow.SOME_ROWS,
    }
    lines = [
        "// Made by tests/js/js_tables.py from docs/manifest.schema.json and the tables of the Python runtime.",
        "// Do not edit it by hand: run the script again, and read what has changed.",
    ]
    for name, value in tables.items():
        lines += ["", f"export const {name} = {_javascript(value)};"]
    return "\n".join(lines) + "\n"


_WIRE = (
    "MODEL", "OPSET", "ENTRY", "GRAPH", "NODE", "ATTRIBUTE", "TENSOR", "VALUE_INFO", "TYPE", "TENSOR_TYPE", "SHAPE",
    "DIMENSION",
)  # fmt: skip


def _fields(definition: dict[str, Any]) -> dict[str, Any]:
    """Field to type: a word, or [kind, what]."""
    return {name: _type(kind) for name, kind in definition["properties"].items()}


def classes(kind: Any = Manifest) -> set[type]:
    """The classes of the manifest."""
    below = {found for part in getattr(kind, "__args__", ()) for found in classes(part)}
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return below
    return {kind}.union(*(classes(part) for part in field_types(kind).values()))


def _defaults(cls: type) -> dict[str, Any]:
    """Of the fields that may be left out."""
    return {field.name: field.default for field in dataclasses.fields(cls) if is_optional(field)}


def _type(kind: dict[str, Any]) -> Any:
    if "$ref" in kind:
        return ["object", kind["$ref"].rpartition("/")[2]]
    if "anyOf" in kind:
        inner, null = kind["anyOf"]
        assert null == {"type": "null"}
        return ["nullable", _type(inner)]
    if "enum" in kind or "const" in kind:
        return ["enum", kind.get("enum") or [kind["const"]]]
    if kind["type"] == "array":
        return ["array", _type(kind["items"])]
    if kind["type"] == "object":
        return ["map", _type(kind["additionalProperties"])]
    return kind["type"]


def _javascript(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    rows = ",\n".join(
        f"  {json.dumps(str(key))}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()
    )
    return f"{{\n{rows},\n}}" if rows else "{}"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
