"""The JavaScript reader keeps to the tables of the Python runtime."""

from __future__ import annotations

import re
from pathlib import Path

import js_tables as tables

from vae_edge_runtime import errors
from vae_edge_runtime.scoring.inputs import Status

SOURCES = sorted((tables.ROOT / "runtime" / "js" / "src").glob("*.js"))


def test_the_tables_of_the_reader_are_those_of_the_schema_and_the_runtime() -> None:
    assert tables.TARGET.read_text(encoding="utf-8") == tables.text(), (
        "run python tests/js/js_tables.py; where the manifest has a new field with a rule of its own, "
        "add the rule to runtime/js/src/manifest.js"
    )


def test_every_class_of_the_manifest_with_rules_has_them_in_javascript() -> None:
    """A class of the runtime with a ``__post_init__`` has a row in RULES."""
    ruled = {kind.__name__ for kind in tables.classes() if "__post_init__" in vars(kind)}
    text = (tables.TARGET.parent / "manifest.js").read_text(encoding="utf-8")
    assert ruled == set(re.findall(r"^  ([A-Z]\w+)(?:\(|: check)", text, flags=re.MULTILINE))


def test_every_upgrade_of_an_older_manifest_has_its_step_in_javascript() -> None:
    text = (tables.TARGET.parent / "upgrade.js").read_text(encoding="utf-8")
    steps = text.split("const STEPS = {")[1].split("};")[0]
    assert set(re.findall(r"^  (\w+):", steps, flags=re.MULTILINE)) == {
        step.__name__ for step in tables.UPGRADES.values()
    }


def test_errors_have_the_names_of_the_python_runtime_and_the_same_parents() -> None:
    text = (tables.TARGET.parent / "errors.js").read_text(encoding="utf-8")
    for name, parent in re.findall(r"^export class (\w+) extends (\w+)", text, flags=re.MULTILINE):
        if name != "VaeEdgeError":
            assert issubclass(getattr(errors, name), getattr(errors, parent)), name


def test_names_of_statuses_are_those_of_the_python_runtime() -> None:
    text = (tables.TARGET.parent / "tensors.js").read_text(encoding="utf-8")
    names = ", ".join(f'"{status.name.lower()}"' for status in Status)
    assert f"STATUS_NAMES = Object.freeze([{names}])" in text


def test_no_module_is_longer_than_400_lines() -> None:
    demo = tables.ROOT / "examples" / "browser"
    paths = [*SOURCES, *Path(__file__).parent.glob("*.js"), *demo.glob("*.js"), *demo.glob("*.html")]
    assert len(SOURCES) > 15
    assert {path.name: n for path in paths if (n := len(path.read_text("utf-8").splitlines())) > 400} == {}
