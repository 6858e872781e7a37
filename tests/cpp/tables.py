"""Writes ``runtime/cpp/src/tables.h`` from Python's own: keys and types of a manifest, operators, heads and limits.

    python tests/cpp/tables.py

A test compares the file with what this makes, so that C and Python cannot drift apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vae_edge_runtime import __version__
from vae_edge_runtime.format import limits
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import SCHEMA_VERSION
from vae_edge_runtime.format.onnx_ops import ARITY, NO_GAPS

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "manifest.schema.json"
HEADER = ROOT / "runtime" / "cpp" / "src" / "tables.h"

_LIMITS = {
    "bundle_bytes": limits.MAX_BUNDLE_BYTES, "members": limits.MAX_MEMBERS, "manifest_bytes": limits.MAX_MANIFEST_BYTES,
    "json_depth": limits.MAX_JSON_DEPTH, "json_number": limits.MAX_JSON_NUMBER, "variants": limits.MAX_VARIANTS,
    "parts": limits.MAX_PARTS, "fields": limits.MAX_FIELDS, "nodes": limits.MAX_NODES,
    "initializers": limits.MAX_INITIALIZERS, "rank": limits.MAX_RANK, "tensor_elements": limits.MAX_TENSOR_ELEMENTS,
    "elements": limits.MAX_ELEMENTS, "most_rows": limits.MOST_ROWS, "known_elements": limits.MAX_KNOWN_ELEMENTS,
    "window": limits.MAX_WINDOW, "ir_version": limits.IR_VERSION_MAX, "opset_min": limits.OPSET_MIN,
    "opset_max": limits.OPSET_MAX, "schema_version": SCHEMA_VERSION,
}  # fmt: skip


def kind(schema: dict[str, Any]) -> str:
    """A type of the schema as text: ``?`` may be null, ``[]`` a list, ``{}`` a map, ``@`` an object, ``=`` words."""
    if "$ref" in schema:
        return "@" + schema["$ref"].rsplit("/", 1)[1]
    if "anyOf" in schema:
        (inner,) = (option for option in schema["anyOf"] if option != {"type": "null"})
        return "?" + kind(inner)
    if "enum" in schema:
        assert all(isinstance(word, str) for word in schema["enum"]), schema
        return "=" + "|".join(schema["enum"])
    if "const" in schema:
        return "i"
    if schema["type"] == "array":
        return "[]" + kind(schema["items"])
    if schema["type"] == "object":
        return "{}" + kind(schema["additionalProperties"])
    return {"string": "s", "integer": "i", "number": "f", "boolean": "b"}[schema["type"]]


def header() -> str:
    """The text of ``tables.h``."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    objects = {"Manifest": schema} | schema["$defs"]
    lines = [
        "// Made by tests/cpp/tables.py from docs/manifest.schema.json and the Python runtime. Do not edit.",
        "#pragma once", "", "#include <cstdint>", "", "namespace vaee {", "",
        f'inline constexpr char version[] = "{__version__}";', "", "namespace limits {",
        *(f"inline constexpr std::int64_t {name} = {value};" for name, value in _LIMITS.items()), "}", "",
        "// A type: s, i, f, b; '?' may be null; '[]' a list; '{}' a map; '@' an object; '=' one of some words.",
        "struct Field {", "    const char* object;", "    const char* name;", "    const char* type;",
        "    bool required;", "};",
        "inline constexpr Field fields[] = {",
    ]  # fmt: skip
    for name, spec in objects.items():
        for key, inner in spec["properties"].items():
            required = "true" if key in spec["required"] else "false"
            lines.append(f'    {{"{name}", "{key}", "{kind(inner)}", {required}}},')
    lines += [
        "};", "", "struct HeadRow {", "    const char* name;", "    const char* computed;",
        "    bool is_term, needs_kl, reads_codes, may_be_default, may_decide;", "    const char* statistic;", "};",
        "inline constexpr HeadRow head_rows[] = {",
    ]  # fmt: skip
    for head in HEADS.values():
        flags = (head.is_term, head.needs_kl, head.reads_codes, head.may_be_default, head.may_decide)
        shown = ", ".join("true" if flag else "false" for flag in flags)
        lines.append(f'    {{"{head.name}", "{head.computed}", {shown}, "{head.statistic or ""}"}},')
    lines += [
        "};", "", "struct OperatorRow {", "    const char* name;", "    int least, most, outputs;", "    bool no_gaps;",
        "};", "inline constexpr OperatorRow operator_rows[] = {",
    ]  # fmt: skip
    for op in sorted(ARITY):
        least, most, outputs = ARITY[op]
        lines.append(f'    {{"{op}", {least}, {most}, {outputs}, {"true" if op in NO_GAPS else "false"}}},')
    return "\n".join([*lines, "};", "", "}  // namespace vaee", ""])


if __name__ == "__main__":
    HEADER.write_text(header(), "utf-8")
