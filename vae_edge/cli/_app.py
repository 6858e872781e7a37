"""The typer application: one module per command."""

from __future__ import annotations

import functools
import inspect
import platform
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

from vae_edge_runtime import __version__
from vae_edge_runtime.errors import OptionError

from . import (
    _apart,
    _console,
    _help,
    _options,
    _rows,
    _session,
    bench,
    build,
    compare,
    compress,
    decode,
    decompress,
    doctor,
    encode,
    evaluate,
    explain,
    export,
    info,
    inspect_,
    interpolate,
    lint,
    recalibrate,
    reconstruct,
    report,
    sample,
    score,
    train,
    traverse,
    tune,
    unpack,
    verify,
    watch,
)

# "\b" keeps the lines of a paragraph as they are.
_EPILOG = """\b
Exit codes:
  0    fine
  1    a gate or a verification failed
  2    bad usage or input
  3    something is missing on this machine
  4    the engine failed
  70   a bug of vae-edge
  130  Ctrl-C

\b
Example:
  vae-edge train conv --data pictures/ -o run
  vae-edge export run --calibration good/ -o model.vaeb
  vae-edge score model.vaeb today/
"""

app = typer.Typer(
    name="vae-edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        _console.say(f"vae-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Export, verify and run Variational Autoencoders on edge devices."""


_SHARED: tuple[tuple[tuple[str, ...], dict[str, tuple[object, object]], Callable[..., None]], ...] = (
    (("columns",), _options.TABLE, _rows.begin),
    (("device", "devices"), _options.ISOLATION, _session.begin),
)
"""Options that a command has because it has one of those parameters, and who keeps what they say."""
_NOT_ISOLATED = ("build", "tune")
"""Both measure or make what a session in this process uses."""


def _with_shared_options(name: str, run: Callable[..., None]) -> Callable[..., None]:
    """The command with ``-v`` and ``-q``, which all have, and the options that its own parameters bring along."""
    own = inspect.signature(run, eval_str=True)
    shared = [
        (options, begin)
        for parameters, options, begin in _SHARED
        if own.parameters.keys() & set(parameters) and not (options is _options.ISOLATION and name in _NOT_ISOLATED)
    ]

    @functools.wraps(run)
    def command(*, verbose: bool, quiet: bool, **options: Any) -> None:
        if verbose and quiet:
            raise OptionError("--verbose and --quiet contradict each other: pass one")
        _console.loudness.set(_console.VERBOSE if verbose else _console.QUIET if quiet else _console.NORMAL)
        _console.options.set(flags)
        _apart.check(options)
        for group, begin in shared:
            begin(**{name: options.pop(name, default) for name, (_, default) in group.items()})
        start = time.perf_counter()
        _console.detail(f"vae-edge {__version__}, Python {platform.python_version()}, numpy {np.__version__}")
        with np.errstate(all="ignore"):  # what is not finite has a status or an error, and no warning of NumPy
            run(**options)
        _console.detail(f"{time.perf_counter() - start:.2f} s")

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for group, _ in shared
        for name, (kind, default) in group.items()
    ] + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("verbose", _options.Verbose), ("quiet", _options.Quiet))
    ]
    signature = own.replace(parameters=[*own.parameters.values(), *added])
    flags = _flags(signature)
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def _flags(signature: inspect.Signature) -> dict[str, str]:
    """The options of a command by parameter, as they are written first on its command line."""
    flags = {}
    for name, parameter in signature.parameters.items():
        for kind in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(kind, typer.models.OptionInfo):
                declared = next(
                    (d for d in kind.param_decls or () if d.startswith("--")), f"--{name.replace('_', '-')}"
                )
                flags[name] = declared.partition("/")[0]
    return flags


for module in (
    train,
    inspect_,
    export,
    info,
    verify,
    doctor,
    lint,
    build,
    score,
    explain,
    watch,
    evaluate,
    report,
    bench,
    tune,
    compare,
    recalibrate,
    sample,
    reconstruct,
    encode,
    decode,
    interpolate,
    traverse,
    unpack,
    compress,
    decompress,
):
    app.command(
        module.NAME,
        epilog=f"\b\nExample:\n  {module.EXAMPLE}",
        cls=_help.command_with(getattr(module, "PANELS", {})),
    )(_with_shared_options(module.NAME, module.run))
