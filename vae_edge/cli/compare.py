"""``vae-edge compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_edge.bench.rows import Rows, golden_rows
from vae_edge.compare.facts import check_same_rows
from vae_edge.compare.report import Comparison, Spread
from vae_edge.compare.run import compare
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.storage.files import refuse_existing, write_atomic
from vae_edge_runtime.text import counted

from . import _console, _labelled, _options, _tables
from ._session import load

NAME = "compare"
EXAMPLE = "vae-edge compare old.vaeb new.vaeb --rows held_out.npz --fail-below-agreement 0.99"


def run(
    bundle: _options.Bundle,
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER]", help="A second bundle; default: the same one.", show_default=False),
    ] = None,
    rows: _labelled.Data = None,
    labels: _labelled.Labels = None,
    label_column: _labelled.LabelColumn = None,
    variant_a: Annotated[str, typer.Option(help="Of the first bundle: auto, or a precision in it.")] = "auto",
    variant_b: Annotated[str, typer.Option(help="Of the second one.")] = "auto",
    fail_below_agreement: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 where fewer rows are decided alike.", show_default=False),
    ] = None,
    max_auroc_change: Annotated[
        float | None,
        typer.Option(min=0, help="Exit with 1 where AUROC changes by more, up or down.", show_default=False),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of the scores of both.", show_default=False)] = None,
    device: _options.Device = "cpu",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Compare two bundles, or two variants of one: what they say, and what they make of the same rows.

    The first one is the reference. Exits with 0 whatever the figures are, unless a limit is given and missed.
    """
    if plot is not None:
        require("matplotlib", extra="evaluate", why="--plot")
        _tables.check_suffix(plot, (".png",))
        refuse_existing(plot, force=force)
    if other is None and variant_a == variant_b:
        raise OptionError("there is nothing to compare: name a second bundle, or --variant-a and --variant-b")
    second = bundle if other is None else other
    with (
        load(bundle, device=device, variant=variant_a, allow_fallback=allow_fallback, threads=threads) as a,
        load(second, device=device, variant=variant_b, allow_fallback=allow_fallback, threads=threads) as b,
    ):
        check_same_rows(a.manifest, b.manifest)
        labelled = _labelled.read_labelled(
            a.manifest.input, rows, labels, label_column, window=window, stride=stride, columns=columns, size=image_size
        )
        used = (
            golden_rows(a)
            if labelled is None
            else Rows(labelled[0].x, labelled[0].condition, labelled[1], str(rows), "file")
        )
        if max_auroc_change is not None and used.labels is None:
            raise OptionError("--max-auroc-change needs labelled rows: pass --rows with --labels or --label-column")
        sizes = bundle.stat().st_size, second.stat().st_size
        with _console.progress("comparing", 3 * len(used)) as step:
            compared = compare(a, b, used, sizes=sizes, progress=step)
    if plot is not None:
        from vae_edge.compare.plot import figure_png

        write_atomic(plot, [figure_png(compared)], replace=force)
    report = compared.comparison
    missed = report.missed(fail_below_agreement, max_auroc_change)
    if json:
        _console.print_json(NAME, {"plot": plot, "ok": not missed, "missed": missed, **report.to_dict()})
    else:
        _show(report)
    for warning in report.warnings:
        _console.note(f"note: {warning}")
    if missed:
        _console.complain(f"missed: {'; '.join(missed)}")
        raise typer.Exit(1)


def _show(report: Comparison) -> None:
    _console.table(
        ("", "a", "b"),
        [
            ("compared", report.a, report.b),
            ("file bytes", *(f"{n:,}" for n in report.size_bytes)),
            ("graph bytes", *(f"{n:,}" for n in report.graph_bytes)),
            *((fact.what, fact.a, fact.b) for fact in report.facts if fact.differs),
        ],
    )
    same = sum(not fact.differs for fact in report.facts)
    _console.say(
        f"the same in both: {same} more facts\n\n{counted(report.rows, 'row')} ({report.rows_source}), b against a\n"
    )
    listed = dict(report.heads)
    if len(set(report.default_heads)) > 1:
        listed[" and ".join(report.default_heads)] = report.decisions
    _console.table(
        ("head", "correlation", "rank corr.", "error max", "error p99", "decisions differ", "alike"),
        [
            (
                name,
                f"{s.correlation:.6f}",
                f"{s.rank_correlation:.6f}",
                f"{s.error_max:.2g}",
                f"{s.error_p99:.2g}",
                "-" if s.decisions_differ is None else f"{s.decisions_differ:,} of {report.rows:,}",
                "-" if s.agreement is None else f"{s.agreement:.2%}",
            )
            for name, s in listed.items()
        ],
    )
    for line in _lines(report):
        _console.line(line)


def _lines(report: Comparison) -> list[str]:
    """What is one figure or two, a line each."""
    decisions, hats, latents, ranked = report.decisions, report.reconstructions, report.latents, report.auroc
    lines = [""]
    if decisions.differing_rows:
        more = (decisions.decisions_differ or 0) - len(decisions.differing_rows)
        named = ", ".join(map(str, decisions.differing_rows)) + (f" and {more} more" if more else "")
        lines.append(f"rows decided differently, from 0: {named}")
    if decisions.scored_by_one:
        lines.append(f"rows that only one could score: {decisions.scored_by_one}")
    if latents is None:
        lines.append("latents: of other weights, so there is nothing to compare")
    else:
        lines.append(
            f"posterior mean: max error {latents.max_absolute:.3g}, rms {latents.relative_rms:.3g} of its size"
        )
    if hats is None:
        lines.append("reconstructions: not comparable")
    else:
        lines.append(f"reconstructions, b against a: PSNR {_text(hats.psnr_db, '.1f')} dB")
        if hats.ssim is not None:
            lines[-1] += f", SSIM {_text(hats.ssim, '.5f')}"
        if hats.psnr_a_db is not None and hats.psnr_b_db is not None:
            lines.append(
                f"against the rows: PSNR a {_text(hats.psnr_a_db, '.1f')} dB, b {_text(hats.psnr_b_db, '.1f')} dB"
            )
    if ranked is not None:
        lines.append(f"AUROC: a {ranked.a:.4f}, b {ranked.b:.4f}, change {ranked.change:+.4f}")
    return lines


def _text(spread: Spread, digits: str) -> str:
    return f"{spread.median:{digits}} (worst row {spread.worst:{digits}})"
