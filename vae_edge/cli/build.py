"""``vae-edge build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_edge_runtime.backends.tensorrt import BuildOptions, Preparation, check_engines, prepare_engines
from vae_edge_runtime.backends.tensorrt.prepare import graph_count
from vae_edge_runtime.errors import OptionError

from . import _console, _options

NAME = "build"
EXAMPLE = "vae-edge build pump.vaeb --variant fp16"


def run(
    bundle: _options.Bundle,
    variant: Annotated[str, typer.Option(help="auto, a precision in the bundle, or all.")] = "auto",
    max_batch: Annotated[int, typer.Option(min=1, help="Most rows of one run; larger arrays are cut.")] = 64,
    workspace_mib: Annotated[int, typer.Option(min=1, help="Most scratch memory of one layer, in MiB.")] = 256,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of engines; default: VAE_EDGE_CACHE or ~/.cache/vae-edge.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether TensorRT RTX, on a CPU, takes every graph; keep nothing.")
    ] = False,
    json: _options.Json = False,
) -> None:
    """Build TensorRT engines on the device that will run them, ahead of its first score.

    Engines lie in a folder of this user; one that fits is not built again, one that does not is replaced. With
    --check no GPU is needed: what TensorRT RTX refuses, TensorRT would.
    """
    if check and cache is not None:
        raise OptionError("--check keeps no engines, so --cache has no use: leave one out")
    options = BuildOptions(max_batch=max_batch, workspace_bytes=workspace_mib << 20)
    with _console.progress("building", graph_count(bundle, variant)) as advance:
        graph = ""

        def step(label: str, done: int, steps: int) -> None:
            nonlocal graph
            now, _, _ = label.partition(":")
            advance(int(graph not in ("", now)), label=f"{label} {done}/{steps}")
            graph = now

        if check:
            report = check_engines(bundle, variant=variant, options=options, progress=step)
        else:
            report = prepare_engines(bundle, variant=variant, options=options, folder=cache, progress=step)
    if json:
        _console.print_json(NAME, {"bundle": bundle, "checked_only": check, **report.to_dict()})
    else:
        _show(report)


def _show(report: Preparation) -> None:
    rows = (
        (
            f"{one.variant}/{one.graph}",
            f"{one.onnx_bytes / 1e6:.2f}",
            f"{one.engine_bytes / 1e6:.2f}",
            f"{one.seconds:.1f}",
            f"built: {one.reason}" if one.built else "stored",
        )
        for one in report.engines
    )
    _console.table(("graph", "ONNX MB", "engine MB", "seconds", ""), rows)
    if report.machine is None:
        _console.say(f"TensorRT {report.tensorrt} takes every graph. Nothing was run or kept.")
    else:
        _console.say(
            f"{report.folder}: for {report.machine.gpu} (compute capability {report.machine.capability}), "
            f"TensorRT {report.tensorrt}, up to {report.options.max_batch} rows a run"
        )
