"""JSON Schema of the manifest, from the very classes that read it.

``python -m vae_edge_runtime schema > docs/manifest.schema.json`` writes the published copy. The
schema says types and keys; rules between fields (sums, shapes, hashes) are the reader's.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from typing import Any

from ..record import field_types
from .manifest import SCHEMA_VERSION, Manifest
from .strict_json import is_optional

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def manifest_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) as plain values."""
    definitions: dict[str, Any] = {}
    top = _object(Manifest, definitions)
    top["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Manifest of a vae-edge bundle, schema version {SCHEMA_VERSION}",
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The published text of ``manifest_schema``."""
    return json.dumps(manifest_schema(), indent=2) + "\n"


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = field_types(cls)
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()),
        "properties": {name: _schema(kind, definitions) for name, kind in fields.items()},
        "required": [field.name for field in dataclasses.fields(cls) if not is_optional(field)],
        "additionalProperties": False,
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return {"anyOf": [_schema(inner, definitions), {"type": "null"}]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    return {"type": _SCALARS[kind]}
