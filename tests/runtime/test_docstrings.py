"""Docstrings of what users call: every argument is explained, and every example is run."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import FEATURES, TinyBundle

import vae_edge_runtime
from vae_edge_runtime import VAE, load, recalibrate, verify
from vae_edge_runtime.format.stream_rules import AlarmSpec, GuardSpec, StreamSpec
from vae_edge_runtime.stream import StreamOptions, open_stream

METHODS = {f"VAE.{name}": method for name, method in inspect.getmembers(VAE, inspect.isfunction) if name[0] != "_"}
FUNCTIONS = {function.__name__: function for function in (load, verify, recalibrate, open_stream)}
# A room that documents its functions in this way adds them here.
CALLABLES: dict[str, Callable[..., Any]] = METHODS | FUNCTIONS


def _section(document: str, title: str) -> str:
    """What stands under ``title:``, up to the next line that is indented as little."""
    found = re.search(rf"^{title}:\n((?:(?: {{4}}.*)?\n)+)", document + "\n", flags=re.MULTILINE)
    return found.group(1) if found else ""


def _parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_table_holds_every_method_a_user_calls() -> None:
    assert {"VAE.score", "VAE.stream", "VAE.run_graph", "VAE.read_member", "VAE.close"} <= METHODS.keys()
    assert len(METHODS) == 20
    assert {name for name in ("load", "verify", "recalibrate") if name in vae_edge_runtime.__all__} <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", CALLABLES)
def test_every_argument_is_explained_on_a_line_of_its_own(name: str) -> None:
    document = inspect.getdoc(CALLABLES[name]) or ""
    explained = re.findall(r"^ {4}(\w+): \S", _section(document, "Args"), flags=re.MULTILINE)
    assert explained == _parameters(CALLABLES[name])


@pytest.mark.parametrize("name", [name for name, function in CALLABLES.items() if _parameters(function)])
def test_every_function_says_what_it_raises_and_shows_an_example(name: str) -> None:
    document = inspect.getdoc(CALLABLES[name]) or ""
    assert re.search(r"^ {4}\w+(, \w+)*: \S", _section(document, "Raises"), flags=re.MULTILINE)
    assert ">>> " in _section(document, "Example")


@pytest.mark.parametrize("name", CALLABLES)
def test_the_example_does_what_it_shows(tiny: TinyBundle, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
    assert tiny.manifest is not None
    guard = GuardSpec((-9.0,) * FEATURES, (9.0,) * FEATURES, 0.5, 0, 0, None, (False,) * FEATURES)
    tiny.manifest = dataclasses.replace(tiny.manifest, stream=StreamSpec(guard, AlarmSpec(1, 1, 1, 0.1, 0)))
    tiny.path = tiny.path.with_name("pump.vaeb")
    tiny.write()
    monkeypatch.chdir(tiny.path.parent)
    with load("pump.vaeb", device="cpu", threads=1) as vae:
        names = {**FUNCTIONS, "vae": vae, "x": rows[:8], "rows": rows[:3], "normal": rows}
        document = inspect.getdoc(CALLABLES[name]) or ""
        example = doctest.DocTestParser().get_doctest(document, names, name, None, 0)
        said: list[str] = []
        assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)


def test_the_options_of_a_stream_are_the_keywords_of_the_method() -> None:
    *options, unknown = list(inspect.signature(VAE.stream).parameters.values())[2:]
    fields = dataclasses.fields(StreamOptions)
    assert [(option.name, option.default) for option in options] == [(field.name, field.default) for field in fields]
    assert unknown.kind is inspect.Parameter.VAR_KEYWORD
    page = (Path(__file__).parents[2] / "docs" / "streams.md").read_text(encoding="utf-8")
    assert [field.name for field in fields if f"`{field.name}`" not in page] == []
