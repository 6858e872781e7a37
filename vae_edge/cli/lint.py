"""``vae-edge lint``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import _console, _options

NAME = "lint"
EXAMPLE = "vae-edge lint pump.vaeb --target jetson-jp6"


def run(
    bundle: _options.Bundle,
    target: Annotated[str, typer.Option(help="jetson-jp6, jetson-jp7 or ort-cpu.", show_default=False)],
    variant: Annotated[str | None, typer.Option(help="Only this one; default: all.", show_default=False)] = None,
    json: _options.Json = False,
) -> None:
    """Say what a target's engines would refuse or get wrong, without the target.

    Stands in for hardware and does not replace it: ``verify`` on the device has the last word. Exits with 1
    where there is an error.
    """
    from vae_edge_export.lint import TARGETS, lint

    report = lint(bundle, target, variant=variant)
    if json:
        _console.print_json(NAME, {"report": report.to_dict()})
    else:
        for one in report.lints:
            _console.line(f"{one.level:<8} {one.place:<18} {one.rule:<20} {one.node}: {one.what}")
            _console.line(f"{'':<27} -> {one.remedy}")
        for place, sentence in report.dla.items():
            _console.note(f"{place}: {sentence}")
        problems = sum(one.level == "error" for one in report.lints)
        _console.say(f"{report.graphs} graphs for {TARGETS[target].engines}: {problems or 'no'} errors")
    if not report.ok:
        raise typer.Exit(1)
