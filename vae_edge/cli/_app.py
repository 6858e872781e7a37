"""The typer application: one module per command."""

from __future__ import annotations

from typing import Annotated

import typer

from vae_edge_runtime import __version__

from . import encode, export, info, reconstruct, sample, score, train, verify

app = typer.Typer(
    name="vae-edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 a gate or a verification failed, 2 bad usage or input, 3 something is missing "
    "on this machine, 4 the engine failed, 70 a bug, 130 Ctrl-C.  "
    "Example: vae-edge train conv --data pictures/ -o run && vae-edge export run --calibration good/ -o model.vaeb",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vae-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Export, verify and run Variational Autoencoders on edge devices."""


for command in (train, export, info, verify, score, sample, reconstruct, encode):
    app.command(command.NAME, epilog=f"Example: {command.EXAMPLE}")(command.run)
