"""``vae-edge doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vae_edge_runtime import verify
from vae_edge_runtime.device.doctor import Finding, findings, read_machine, ready_devices
from vae_edge_runtime.errors import VaeEdgeError

from . import _console, _options

NAME = "doctor"
EXAMPLE = "vae-edge doctor pump.vaeb"


def run(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="A .vaeb file to prove on the first engine of this machine that needs no GPU.", show_default=False
        ),
    ] = None,
    json: _options.Json = False,
) -> None:
    """Say what this machine is, whether it can run bundles, and what to type where it cannot.

    Changes nothing. Exits with 3 where something is wrong, with 0 otherwise.
    """
    readings = read_machine()
    judged = findings(readings)
    if bundle is not None:
        ready = [row.name for row in ready_devices(readings) if row.exact and not row.gpu]
        judged.append(_proven(bundle, ready[0] if ready else "cpu"))
    if json:
        _console.print_json(NAME, {"findings": [f.to_dict() for f in judged], "readings": readings.to_dict()})
    else:
        for finding in judged:
            _console.line(f"{finding.level:<8} {finding.subject:<12} {finding.what}")
            if finding.remedy:
                _console.line(f"{'':<21} -> {finding.remedy}")
    if any(finding.level == "error" for finding in judged):
        raise typer.Exit(3)


def _proven(bundle: Path, device: str) -> Finding:
    try:
        # An engine that the bundle brings down is a finding, and must not end the doctor.
        checked = verify(bundle, device=device, isolate=os.name == "posix")
    except VaeEdgeError as error:
        return Finding("error", "bundle", f"{type(error).__name__}: {error}")
    if checked.ok:
        return Finding("ok", "bundle", f"{bundle}: {len(checked.checks)} golden outputs are right on {device}")
    worst = max(checked.checks, key=lambda c: c.max_relative / c.tolerance_relative)
    return Finding(
        "error",
        "bundle",
        f"{worst.variant} {worst.graph}.{worst.output} differs by {worst.max_relative:.2g}, "
        f"at most {worst.tolerance_relative:g}",
        "vae-edge verify shows all figures; take another variant, or another build of the engine",
    )
