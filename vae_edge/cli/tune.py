"""``vae-edge tune``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from vae_edge.bench.rows import Rows
from vae_edge.tune import Limits, TuneReport
from vae_edge.tune import tune as find
from vae_edge_runtime import Bundle
from vae_edge_runtime.device.devices import devices as all_devices
from vae_edge_runtime.device.tuned import forget_choice
from vae_edge_runtime.errors import OptionError

from . import _console, _labelled, _options

NAME = "tune"
EXAMPLE = "vae-edge tune pump.vaeb --rows held_out.npz --p99 10ms --max-flips 0"


def run(
    bundle: _options.Bundle,
    rows: _labelled.Data = None,
    p99: Annotated[
        str | None, typer.Option(help="Most that the p99 of a call may be, such as 10ms.", show_default=False)
    ] = None,
    max_flips: Annotated[int, typer.Option(min=0, help="Decisions that may differ from fp32's on the rows.")] = 0,
    variants: Annotated[
        str | None, typer.Option(help="That compete, comma separated; default: all.", show_default=False)
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help=f"Of {', '.join(row.name for row in all_devices())}; default: all to be had.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(help="Comma separated; auto: the engine's choice; default: 1 and all cores.", show_default=False),
    ] = None,
    batches: Annotated[str, typer.Option(help="Rows per call, comma separated; most rows per second wins.")] = "1",
    rounds: Annotated[
        int, typer.Option(min=12, max=100_000, help="Of 6 calls per candidate; half choose, half report.")
    ] = 36,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Keep nothing.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Only remove what an earlier run kept.")] = False,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
) -> None:
    """Find the fastest variant, engine and number of threads for this device, and let ``auto`` take it.

    All candidates take turns in every round. What wins is kept in a file of this user for this bundle, and
    followed wherever device, variant and threads are left to ``auto``. Exits with 1 where none keeps the limits.
    """
    if forget:
        with Bundle.open(bundle) as opened:
            gone = forget_choice(opened.bundle_id)
        if json:
            _console.print_json(NAME, {"forgotten": gone})
        else:
            _console.say("forgotten" if gone else "there was nothing to forget")
        return
    with Bundle.open(bundle) as opened:
        spec = opened.manifest.input
    table = _labelled.read_labelled(
        spec, rows, None, None, window=window, stride=stride, columns=columns, size=image_size
    )
    used = None if table is None else Rows(table[0].x, table[0].condition, table[1], str(rows), "file")
    with _console.progress("measuring", None) as step:
        report = find(
            bundle,
            used,
            limits=Limits(_milliseconds(p99), max_flips),
            variants=_options.split_names(variants),
            devices=_options.split_names(devices),
            threads=_options.thread_counts(threads, low=1),
            batches=_options.whole_numbers("batches", batches, low=1),
            rounds=rounds,
            keep=not dry_run,
            progress=lambda label: step(label=label),
        )
    if json:
        _console.print_json(NAME, report.to_dict())
    else:
        _show(report)
    for line in (*(f"{name}: {why}" for name, why in report.absent.items()), *report.notes):
        _console.note(f"note: {line}")


def _milliseconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    if match is None:
        raise OptionError(f"p99 is {text!r}; write a time such as 500us, 10ms or 1.5s")
    return float(match[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[match[2]]


def _show(report: TuneReport) -> None:
    rows = []
    for number, one in enumerate(report.candidates):
        p95, p99 = ("-" if v is None else f"{v:.3g}" for v in (one.latency.p95_ms, one.latency.p99_ms))
        rows.append(
            (
                str(one),
                f"{one.latency.p50_ms:.3g}",
                p95,
                p99,
                f"{one.rows_per_s:,.0f}",
                f"{1 / one.against_default.median:.2f}",
                "-" if one.flips is None else str(one.flips),
                "<- chosen" if number == report.winner else one.refused or "",
            )
        )
    _console.table(("candidate", "p50 ms", "p95", "p99", "rows/s", "x default", "flips", ""), rows)
    _console.line(report.choice.why)
    kept = f"kept in {report.path}" if report.path else "nothing was kept"
    _console.say(f"{kept}; {report.rounds} rounds, half of them to choose and half for these figures")
