"""The help of a long command: every option under one heading, the most needed ones first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from shell import Cli

pytest.importorskip("typer")

import typer

from vae_edge.cli import export
from vae_edge.cli._app import app


def command(name: str) -> Any:
    return typer.main.get_command(app).commands[name]


def test_every_option_of_export_stands_under_one_heading() -> None:
    listed = [name for names in export.PANELS.values() for name in names]
    parameters = {p.name for p in command("export").params if p.param_type_name == "option"}
    assert sorted(listed) == sorted(parameters | {"help"})


def test_help_of_export_shows_every_option_once_and_the_six_most_needed_first(cli: Cli) -> None:
    out = cli("export", "--help").out
    headings = re.findall(r"^(\S.*):$", out, flags=re.MULTILINE)
    assert headings == ["Arguments", *export.PANELS]
    shown = re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", out, flags=re.MULTILINE)
    assert shown[:6] == ["--output", "--calibration", "--evaluation", "--weights", "--name", "--precision"]
    assert len(shown) == len(set(shown)) == sum(map(len, export.PANELS.values()))


def test_help_of_a_short_command_stays_one_list(cli: Cli) -> None:
    out = cli("verify", "--help").out
    assert re.findall(r"^(\S.*):$", out, flags=re.MULTILINE) == ["Arguments", "Options"]


@pytest.mark.parametrize("spelling", ["--licence", "--license"])
def test_both_spellings_of_licence_are_taken(spelling: str) -> None:
    line = ["run", "--calibration", "rows.npy", "-o", "m.vaeb", spelling, "MIT"]
    with command("export").make_context("export", line) as context:
        assert context.params["licence"] == "MIT"
