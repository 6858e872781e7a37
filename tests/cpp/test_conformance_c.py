"""libvaeedge against the cases that every language runs, and its tables against Python's."""

from __future__ import annotations

import json

import pytest
from building import ROOT
from c_runtime import CRuntime
from tables import HEADER, SCHEMA, header, kind

from vae_edge_runtime.format.schema import manifest_schema

CASES = {
    case["id"]: case for case in json.loads((ROOT / "tests" / "conformance" / "cases.json").read_text("utf-8"))["cases"]
}


@pytest.mark.parametrize("name", CASES)
def test_c_answers_as_every_language_must(name: str, runtime: CRuntime) -> None:
    from runner import run

    run(CASES[name], runtime)


def test_the_tables_of_c_are_those_of_python() -> None:
    """Where this fails: python tests/cpp/tables.py, and a rule in manifest.cpp for what is new."""
    assert HEADER.read_text("utf-8") == header()


def test_the_tables_are_made_of_the_published_schema() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == manifest_schema()
    assert kind({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/X"}}, {"type": "null"}]}) == "?[]@X"


def test_every_class_of_the_manifest_with_rules_has_its_rules_in_c() -> None:
    """A class whose ``__post_init__`` checks something must be named in the table of rules of manifest.cpp."""
    from vae_edge_runtime.format import figures, manifest, specs, stream_rules
    from vae_edge_runtime.statistics import tail

    text = (ROOT / "runtime" / "cpp" / "src" / "manifest.cpp").read_text("utf-8")
    named = {
        name
        for module in (figures, manifest, specs, stream_rules, tail)
        for name, value in vars(module).items()
        if isinstance(value, type) and "__post_init__" in vars(value) and name in manifest_schema()["$defs"]
    }
    assert len(named) >= 15
    assert {name for name in named if f'{{"{name}", ' not in text} == set()
