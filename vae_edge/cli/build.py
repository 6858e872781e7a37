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
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Engines for --device tensorrt-tf32: products keep 10 bits of each factor.")
    ] = False,
    optimization_level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds fastest, 5 searches longest; default: TensorRT's.")
    ] = None,
    aux_streams: Annotated[
        int | None, typer.Option(min=0, help="Further streams of an engine; 0 saves memory. Default: TensorRT's.")
    ] = None,
    timing_iterations: Annotated[
        int | None, typer.Option(min=1, help="Runs that a kernel's time is the mean of; default: TensorRT's.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also show each engine's layers: kernel and precision, as it says itself.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="First remove engines of other versions, drivers and boards; power modes stay."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether TensorRT RTX, on a CPU, takes every graph; keep nothing.")
    ] = False,
    json: _options.Json = False,
) -> None:
    """Build TensorRT engines on the device that will run them, ahead of its first score.

    Engines lie in a folder of this user; one that fits is not built again, one that does not is replaced. With
    --check no GPU is needed: what TensorRT RTX refuses, TensorRT would.
    """
    for name, given in (("--cache", cache is not None), ("--layers", layers), ("--prune", prune)):
        if check and given:
            raise OptionError(f"--check keeps no engines, so {name} has no use: leave one out")
    options = BuildOptions(
        max_batch=max_batch,
        workspace_bytes=workspace_mib << 20,
        optimization_level=optimization_level,
        aux_streams=aux_streams,
        timing_iterations=timing_iterations,
    )
    with _console.progress("building", graph_count(bundle, variant)) as advance:
        graph = ""

        def step(label: str, done: int, steps: int) -> None:
            nonlocal graph
            now, _, _ = label.partition(":")
            advance(int(graph not in ("", now)), label=f"{label} {done}/{steps}")
            graph = now

        if check:
            report = check_engines(bundle, variant=variant, options=options, tf32=tf32, progress=step)
        else:
            report = prepare_engines(
                bundle, variant=variant, options=options, folder=cache, tf32=tf32, layers=layers, prune=prune,
                progress=step,
            )  # fmt: skip
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
    for one in report.engines:
        if one.layers:
            _console.table(
                (f"{one.variant}/{one.graph}", "kind", "precision", "kernel"),
                ((layer.name, layer.kind, layer.precision, layer.tactic) for layer in one.layers),
            )
    if report.removed:
        _console.say(f"removed {len(report.removed)} engines that nothing on this machine loads")
    if report.machine is None:
        _console.say(f"TensorRT {report.tensorrt} takes every graph. Nothing was run or kept.")
    else:
        _console.say(
            f"{report.folder}: for {report.machine.gpu} (compute capability {report.machine.capability}), "
            f"TensorRT {report.tensorrt}, up to {report.options.max_batch} rows a run"
        )
