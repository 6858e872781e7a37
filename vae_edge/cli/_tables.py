"""Columns of equal length to CSV, JSON Lines or Parquet, and tables that several commands show."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import Compression, Parity
from vae_edge_runtime.format.manifest import Calibration, Variant
from vae_edge_runtime.scoring.score_table import Columns, to_csv, to_rows
from vae_edge_runtime.storage.files import write_atomic

from . import _console

SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse an output that could not be written in the format of its ending, before any work is done.

    Raises:
        OptionError: the ending is another; the message lists the valid ones.
        MissingDependency: the format needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise OptionError(f"{path} ends with none of {', '.join(suffixes)}: the ending chooses the format")
    if suffix == ".parquet":
        require("pyarrow", extra="parquet", why="writing Parquet")
    elif suffix == ".png":
        require("PIL", extra="images", why="writing pictures")


def write_table(path: Path, columns: Columns, *, replace: bool) -> None:
    """Write the columns in the format of the ending, atomically.

    Raises:
        MissingDependency: pyarrow is needed for Parquet. StorageError: the disk refused.
        OptionError: the file exists and ``replace`` is False.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        write_atomic(path, [to_csv(columns).encode("utf-8", "backslashreplace")], replace=replace)
    elif suffix == ".jsonl":
        lines = ((json.dumps(row, allow_nan=False) + "\n").encode() for row in to_rows(columns))
        write_atomic(path, lines, replace=replace)
    else:
        arrow = require("pyarrow", extra="parquet", why="writing Parquet")
        parquet = require("pyarrow.parquet", extra="parquet", why="writing Parquet")
        buffer = io.BytesIO()
        parquet.write_table(arrow.table({name: arrow.array(list(values)) for name, values in columns.items()}), buffer)
        write_atomic(path, [buffer.getvalue()], replace=replace)


def thresholds(default: str, calibration: Calibration, channels: Mapping[str, Calibration]) -> None:
    """The threshold of every head on stdout: one line for one, a table for several."""
    if not channels:
        brought = ", brought by the model" if calibration.source == "model" else ""
        _console.say(
            f"threshold {calibration.threshold:.6g}{brought}: {calibration.false_positive_rate:.3g} of normal rows are "
            f"expected above it (false alarms), from {calibration.n} of them"
        )
        return
    rows = [
        (head, f"{c.threshold:.6g}", f"{c.false_positive_rate:.3g}", c.source, c.n)
        for head, c in {default: calibration, **channels}.items()
    ]
    _console.table(("head (the first is the default)", "threshold", "normal rows above it", "set by", "rows"), rows)


def variants(by_name: Mapping[str, Variant], sizes: Mapping[str, int]) -> None:
    """What every variant keeps of fp32, on stdout; on stderr the layers left in fp32 and why."""
    rows = []
    for name, variant in by_name.items():
        reduction, fidelity, calibration = variant.reduction, variant.fidelity, variant.calibration
        figures: tuple[str, ...] = ("-",) * 7
        if reduction and fidelity:
            ssim = fidelity.reconstruction_ssim
            figures = (
                f"{reduction.scheme}, {reduction.layers} of {reduction.layers_total} layers"
                + (f", by {reduction.ranges}" if reduction.ranges != "none" else ""),
                f"{fidelity.rank_correlation:.5f}",
                f"{fidelity.decision_agreement:.2%}",
                f"{fidelity.auroc_change:.5f}",
                f"{fidelity.reconstruction_psnr_db:.1f}",
                "-" if ssim is None else f"{ssim:.4f}",
                f"{fidelity.latent_error:.2%}",
            )
        threshold = f"{calibration.threshold:.6g}" if calibration else "-"
        rows.append((name, f"{sizes[name]:,}", *figures, threshold))
    head = ("variant", "bytes", "what", "rank corr.", "decisions", "AUROC chg.", "PSNR dB", "SSIM", "latent err.")
    _console.table((*head, "threshold"), rows)
    for name, variant in by_name.items():
        for layer, reason in (variant.reduction.kept if variant.reduction else {}).items():
            _console.note(f"{name}: {layer} is left in fp32: {reason}")


def compression(section: Compression, wish: str | None = None) -> None:
    """Every way to compress, with what it cost and kept on calibration rows, on stdout; ``wish`` is of --compress."""
    rows = []
    for mode in section.modes:
        unit = {"latents": "spreads", "exact": ""}.get(mode.kind, "of the bound")
        rows.append(
            (
                mode.name if mode.kind != "bounded" or mode.name.endswith("u") else f"{mode.name} of the spread",
                f"{mode.row_bytes:.1f}",
                f"{mode.latent_bytes:.1f}",
                mode.predictor,
                f"{mode.largest_error:.3g} {unit}".strip(),
                "-" if mode.flipped is None else mode.flipped,
            )
        )
    head = ("compression", "bytes a row", "of them latents", "predictor", "largest error", "decisions flipped")
    _console.table(head, rows)
    finest = section.modes[-1]
    if wish == "auto" and finest.flipped:
        _console.note(
            f"warning: auto found no bound that keeps every decision: {finest.name} of the spread, its finest, flips "
            f"{finest.flipped}; compress with --scores or --triage, so that nobody scores decompressed rows again"
        )


def gate(figures: Sequence[Any]) -> None:
    """Every figure (``vae_edge_export.gates.Figure``) of a variant that missed its gate, on stderr."""
    rows = [
        (f.name, f"{f.value:.5g}", f"at {'least' if f.at_least else 'most'} {f.limit:g}", "ok" if f.kept else "FAILED")
        for f in figures
    ]
    _console.table(("against fp32 on held-out rows", "found", "limit", ""), rows, err=True)


def parity(figures: Mapping[str, Parity], *, err: bool = False) -> None:
    """Every output beside PyTorch's."""
    rows = []
    for name, p in figures.items():
        tolerance, kept = held(p.max_relative, p.tolerance_relative)
        rows.append((name, f"{p.max_absolute:.2g}", f"{p.max_relative:.2g}", tolerance, p.reference, kept))
    _console.table(("parity with PyTorch", "max abs", "max rel", "tolerance", "against", ""), rows, err=err)


def held(error: float, tolerance: float | None) -> tuple[str, str]:
    """A tolerance, and whether it is kept; fp16 and int8 have gates instead."""
    if tolerance is None:
        return "-", ""
    return f"{tolerance:g}", "ok" if error <= tolerance else "FAILED"
