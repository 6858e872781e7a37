"""The options of a long command under headings, in ``--help``.

typer has panels in its rich help only, and this help is plain text: it is read in logs and over serial lines too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

Panels = Mapping[str, tuple[str, ...]]
"""Heading to the parameters under it, in the order they are shown; every other parameter comes last."""

_REST = "Options"


def command_with(panels: Panels) -> type[TyperCommand]:
    """A class of command whose help shows its options under these headings."""

    class PanelCommand(TyperCommand):
        # click's own classes are typer's in some versions and click's in others
        def format_options(self, ctx: Any, formatter: Any) -> None:
            """Write arguments, then one section a heading."""
            arguments = []
            options: dict[str, Any] = {}
            for param in self.get_params(ctx):
                record = param.get_help_record(ctx)
                if record is not None and param.param_type_name == "argument":
                    arguments.append(record)
                elif record is not None:
                    options[str(param.name)] = record
            sections = {"Arguments": arguments}
            for heading, names in panels.items():
                sections[heading] = [options.pop(name) for name in names if name in options]
            sections[_REST] = list(options.values())
            for heading, records in sections.items():
                if records:
                    with formatter.section(heading):
                        formatter.write_dl(records)

    return PanelCommand
