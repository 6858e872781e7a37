"""``vae-edge verify``."""

from __future__ import annotations

import typer

from vae_edge_runtime import verify
from vae_edge_runtime.text import counted

from . import _console, _options, _session

NAME = "verify"
EXAMPLE = "vae-edge verify pump.vaeb --device cpu"


def run(
    bundle: _options.Bundle,
    device: _options.Device = "cpu",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    json: _options.Json = False,
) -> None:
    """Prove a bundle on this device: structure, every hash, and the golden vectors with figures.

    Exits with 1 where an output differs by more than its tolerance, with 2 where the file is refused.
    """
    outcome = verify(bundle, device=device, allow_fallback=allow_fallback, threads=threads, **_session.isolation())
    if json:
        _console.print_json(NAME, outcome.to_dict())
    else:
        _console.header(outcome.info)
        _console.say(
            f"{counted(outcome.members, 'member')}, {outcome.size_bytes:,} bytes: structure and every SHA-256 are right"
        )
        rows = [
            (
                f"{c.variant} {c.graph}.{c.output}" + (f" at {c.size}" if c.size else ""),
                f"{c.max_absolute:.2g}",
                f"{c.max_relative:.2g}",
                f"{c.tolerance_relative:g}",
                "ok" if c.passed else "FAILED",
            )
            for c in outcome.checks
        ]
        _console.table((f"output ({outcome.rows} stored rows)", "max abs", "max rel", "tolerance", ""), rows)
        _console.say("verified" if outcome.ok else "NOT VERIFIED: this device does not compute what the model computes")
    if not outcome.ok:
        raise typer.Exit(1)
