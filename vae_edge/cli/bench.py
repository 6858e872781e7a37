"""``vae-edge bench``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from vae_edge.bench.measure import Pace, Ratio
from vae_edge.bench.plan import Plan, Task
from vae_edge.bench.report import BenchReport, CellFigures, VariantFigures
from vae_edge.bench.rows import Rows
from vae_edge.bench.run import bench, steps
from vae_edge.bench.split import RUNS, SplitFigures
from vae_edge.bench.split import split as time_split
from vae_edge_runtime import Bundle
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.device.devices import devices as all_devices
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_existing, write_atomic
from vae_edge_runtime.text import counted

from . import _console, _labelled, _options, _session, _tables

NAME = "bench"
EXAMPLE = "vae-edge bench pump.vaeb --rows held_out.npz --batches 1,32 --plot bench.png --output bench.json"


def run(
    bundle: _options.Bundle,
    rows: _labelled.Data = None,
    labels: _labelled.Labels = None,
    label_column: _labelled.LabelColumn = None,
    variants: Annotated[
        str | None, typer.Option(help="Of the bundle, comma separated; default: all.", show_default=False)
    ] = None,
    devices: Annotated[
        str, typer.Option(help=f"Comma separated, those or an error: {', '.join(row.name for row in all_devices())}.")
    ] = "cpu",
    batches: Annotated[str, typer.Option(help="Rows per call, comma separated.")] = "1,32",
    threads: Annotated[
        str | None,
        typer.Option(
            help="Threads of one run, comma separated; auto: the engine's choice. Default: 1,auto on devices that "
            "take a number.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="What one call does: score, encode or sample.")] = "score",
    rounds: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Of 6 calls per cell; default 20.", show_default=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, max=86_400, help="Instead: as many rounds as fit, of all cells.", show_default=False),
    ] = None,
    starts: Annotated[int, typer.Option(min=0, max=1000, help="Cold starts per variant and device; 0: none.")] = 3,
    split: Annotated[
        bool, typer.Option("--split", help="Also time copies and compute on a GPU apart; device tensorrt.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=".json: the whole report.", show_default=False)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of the latencies.", show_default=False)] = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Measure a bundle on this device: latency, throughput, cold start, memory, bytes, and what still agrees.

    All cells (variant, device, batch, threads) take turns in every round, so that what disturbs the machine
    hits all alike. Power and energy are measured where there is a tegrastats; nothing is set.
    """
    if output is not None:
        _tables.check_suffix(output, (".json",))
        refuse_existing(output, force=force)
    if plot is not None:
        require("matplotlib", extra="evaluate", why="--plot")
        _tables.check_suffix(plot, (".png",))
        refuse_existing(plot, force=force)
    if rounds is not None and seconds is not None:
        raise OptionError("--rounds and --seconds both say how long to measure: pass one")
    plan = Plan(
        variants=_options.split_names(variants),
        devices=_options.split_names(devices),
        batches=_options.whole_numbers("batches", batches),
        threads=_options.thread_counts(threads),
        task=cast(Task, task),
        pace=Pace(rounds=None, seconds=seconds) if seconds is not None else Pace(rounds=rounds or 20),
        processes=starts,
        isolation=dict(_session.isolation()),
    )
    with Bundle.open(bundle) as opened:
        spec = opened.manifest.input
    table = _labelled.read_labelled(
        spec, rows, labels, label_column, window=window, stride=stride, columns=columns, size=image_size
    )
    used = None if table is None else Rows(table[0].x, table[0].condition, table[1], str(rows), "file")
    parts = time_split(bundle, plan.variants, plan.devices, plan.batches) if split else ()
    with _console.progress("measuring", steps(bundle, plan)) as step:
        report = bench(bundle, plan, used, progress=lambda label: step(label=label))
    figures = {**report.to_dict(), **({"split": [asdict(part) for part in parts]} if split else {})}
    if output is not None:
        write_atomic(output, [_console.json_text(NAME, figures).encode(), b"\n"], replace=force)
    if plot is not None:
        from vae_edge.bench.plot import figure_png

        write_atomic(plot, [figure_png(report)], replace=force)
    if json:
        _console.print_json(NAME, {"output": output, "plot": plot, **figures})
    else:
        _show(report)
        _show_split(parts)
    for warning in report.warnings:
        _console.note(f"note: {warning}")


def _show(report: BenchReport) -> None:
    _console.say(
        f"{report.bundle}: {report.size_bytes:,} bytes, {report.task} of "
        f"{counted(report.rows, 'row')} ({report.rows_source})"
    )
    _console.say(str(report.environment))
    _console.say(f"{report.rounds} interleaved rounds of {report.calls_per_turn} calls\n")
    with_ratio = any(c.against_fp32 for c in report.cells)
    with_energy = any(c.energy for c in report.cells)
    _console.table(
        ("variant", "device", "batch", "threads", "p50 ms", "p95", "p99", "rows/s",
         *(["time / fp32"] if with_ratio else []), *(["W", "mJ/row"] if with_energy else [])),
        [_cell_line(c, with_ratio, with_energy) for c in report.cells],
    )  # fmt: skip
    _console.say("")
    with_scores = any(v.agreement for v in report.variants)
    with_labels = any(v.auroc is not None for v in report.variants)
    _console.table(
        ("variant", "device", "cold start s", "peak RSS MB", "graphs MB",
         *(["score error", "rank corr.", "differ", "agree"] if with_scores else []),
         *(["AUROC", "change"] if with_labels else [])),
        [_variant_line(v, with_scores, with_labels) for v in report.variants],
    )  # fmt: skip


def _show_split(parts: Sequence[SplitFigures]) -> None:
    if parts:
        _console.say(f"\nmedians of {RUNS} runs without CUDA graphs, in ms; enqueue is the host's call")
        _console.table(
            ("variant", "device", "batch", "copy in", "compute", "copy out", "enqueue"),
            [(p.variant, p.device, p.batch, *map(_ms, (p.copy_in_ms, p.compute_ms, p.copy_out_ms, p.enqueue_ms)))
             for p in parts],
        )  # fmt: skip


def _cell_line(c: CellFigures, with_ratio: bool, with_energy: bool) -> list[object]:
    compared, used = c.against_fp32, c.energy
    line: list[object] = [
        c.cell.variant,
        c.cell.device,
        c.cell.batch,
        "auto" if c.cell.threads is None else c.cell.threads,
    ]
    line += [_ms(t) for t in (c.latency.p50_ms, c.latency.p95_ms, c.latency.p99_ms)] + [f"{c.rows_per_s:,.0f}"]
    if with_ratio:
        line.append("" if compared is None else _ratio(compared))
    if with_energy:
        line += ["unknown"] * 2 if used is None else [f"{used.mean_w:.2f}", f"{1e3 * used.per_row_j:.3g}"]
    return line


def _variant_line(v: VariantFigures, with_scores: bool, with_labels: bool) -> list[object]:
    cold, agreement = v.cold_start, v.agreement
    line: list[object] = [v.variant, v.device, "-" if cold is None else f"{cold.total_s:.3f}"]
    peak = None if cold is None else cold.peak_rss_bytes
    line += ["-" if cold is None else "unknown" if peak is None else f"{peak / 1e6:.1f}", f"{v.graph_bytes / 1e6:.3f}"]
    if with_scores:
        line += ["", "", "", ""] if agreement is None else [
            f"{agreement.error_max:.2g}",
            f"{agreement.rank_correlation:.5f}",
            "-" if agreement.decisions_differ is None else agreement.decisions_differ,
            "-" if agreement.agreement is None else f"{agreement.agreement:.2%}",
        ]  # fmt: skip
    if with_labels:
        change = "" if v.auroc_change is None else f"{v.auroc_change:+.4f}"
        line += ["-" if v.auroc is None else f"{v.auroc:.4f}", change]
    return line


def _ms(value: float | None) -> str:
    """Three digits; a dash where there were too few calls."""
    return "-" if value is None else f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def _ratio(times: Ratio) -> str:
    interval = "" if times.low is None or times.high is None else f" [{times.low:.2f}, {times.high:.2f}]"
    return f"{times.median:.2f}{interval}"
