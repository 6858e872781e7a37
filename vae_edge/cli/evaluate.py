"""``vae-edge evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from vae_edge.data import Dataset
from vae_edge.data.fitting import size_for
from vae_edge.evaluation import Evaluation, judge, score_rows
from vae_edge.evaluation import labels as files
from vae_edge.evaluation.mask_folders import read_mask_folder
from vae_edge.evaluation.metrics import Interval, check_bootstrap, check_labels
from vae_edge.evaluation.pixels import check_masks, map_shape
from vae_edge.evaluation.plot import figure_png
from vae_edge.evaluation.ranges import RangeOptions
from vae_edge.evaluation.report import HeadFigures, count_figures
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.storage.files import refuse_existing, write_atomic

from . import _console, _labelled, _options, _rows, _tables
from ._session import load

NAME = "evaluate"
EXAMPLE = "vae-edge evaluate pump.vaeb held_out.npz --heads all --plot roc.png"


def run(
    bundle: _options.Bundle,
    path: _options.Source,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Labels, 0 normal and 1 anomaly, of another file: .npy, .npz, .csv or .parquet.", show_default=False
        ),
    ] = None,
    label_column: _labelled.LabelColumn = None,
    class_column: _labelled.ClassColumn = None,
    normal: _labelled.Normal = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Anomalous pixels: .npy (n, height, width) of 0 and 1, or a folder such as ground_truth.",
            show_default=False,
        ),
    ] = None,
    heads: _options.Heads = "all",
    ranges: Annotated[bool, typer.Option("--ranges", help="Rows are steps of time: judge ranges and events.")] = False,
    range_alpha: Annotated[
        float | None, typer.Option(help="Weight of finding an event at all; default 0.", show_default=False)
    ] = None,
    range_cardinality: Annotated[
        str | None, typer.Option(help="reciprocal (default) or one.", show_default=False)
    ] = None,
    range_bias: Annotated[
        str | None, typer.Option(help="flat (default), front or back: what counts most.", show_default=False)
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Repeats for the intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="PNG of curves and histograms.", show_default=False)] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
    window: _options.Window = None,
    stride: _options.Stride = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Judge scores and decisions on labelled rows that trained and calibrated nothing.

    Prints a line per head: AUROC with a 95 % interval, average precision, and what the calibrated
    threshold makes of the rows, with the realised false positive rate beside the promised one.
    """
    require("sklearn", extra="evaluate", why=f"vae-edge {NAME}")
    if plot is not None:
        require("matplotlib", extra="evaluate", why="--plot")
        _tables.check_suffix(plot, (".png",))
        refuse_existing(plot, force=force)
    if bootstrap:
        check_bootstrap(bootstrap, seed)
    time = _range_options(ranges, alpha=range_alpha, cardinality=range_cardinality, bias=range_bias)
    names = heads if heads == "all" else _options.split_names(heads)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae:
        _console.header(vae.info)
        spec = vae.manifest.input
        rows = _rows.read_to_score(vae, path, window=window, stride=stride, columns=columns, size=image_size)
        cut = _rows.window_length(spec, path, window)
        truth = truth_of(rows, path, labels, label_column, class_column, normal, cut, stride or 1)
        marked = None if masks is None else _masks(masks, rows, truth.labels, spec, image_size)
        with _console.progress("scoring", len(rows)) as step:
            scored = score_rows(
                vae, rows.x, condition=rows.condition, heads=names, maps=marked is not None, progress=step
            )
        info = vae.info
    total = count_figures(truth.labels, truth.classes) * len(scored.heads)
    with _console.progress("judging", total) as step:
        evaluation = judge(
            scored,
            truth.labels,
            classes=truth.classes,
            masks=marked,
            ranges=time,
            bootstrap=bootstrap,
            seed=seed,
            progress=step,
        )
    if plot is not None:
        write_atomic(plot, [figure_png(scored, truth.labels)], replace=force)
    if json:
        _console.print_json(NAME, {"info": info.to_dict(), "plot": plot, **evaluation.to_dict()})
    else:
        _show(evaluation)
    for warning in evaluation.warnings:
        _console.note(f"note: {warning}")


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about the rows: labels (n,) and classes of anomalies (n,)."""

    labels: NDArray[np.bool_]
    classes: NDArray[Any] | None


def truth_of(
    rows: Dataset,
    path: Path,
    labels: Path | None,
    label_column: str | None,
    class_column: str | None,
    normal: str | None,
    window: int | None,
    stride: int,
) -> Truth:
    """Labels and classes from sub-folders, from the file of labels, or from the data file itself."""
    if normal is not None:
        if labels is not None or label_column is not None or class_column is not None:
            raise OptionError("--normal takes labels and classes from sub-folders: leave out the other label options")
        if not path.is_dir():
            raise OptionError(f"--normal is for a folder of images; {path} is a file")
        folders = files.classes_of_folders(rows.row_ids, normal)
        return Truth(check_labels(folders != normal, len(rows)), folders)
    source = path if labels is None else labels
    if source.is_dir():
        raise DataError(f"{source} is a folder: give --labels FILE, or --normal with its sub-folder of normal images")
    if labels is None and source.suffix.lower() != ".npz" and label_column is None:
        raise DataError(f"{source} does not say which rows are anomalies: give --labels FILE or --label-column")
    if label_column is None and source.suffix.lower() == ".npz":
        label_column = "y"

    def per_row(column: str | None) -> NDArray[Any]:
        values = files.read_values(source, column, _rows.table_options())
        return values if window is None else files.of_windows(values, len(rows), window, stride, str(source))

    truth = files.to_labels(per_row(label_column), len(rows), str(source))
    return Truth(check_labels(truth, len(rows)), None if class_column is None else per_row(class_column))


def _masks(
    path: Path, rows: Dataset, labels: NDArray[np.bool_], spec: InputSpec, size: str | None
) -> NDArray[np.bool_]:
    shape = map_shape(spec)
    if spec.overlap is not None:
        shape = rows.x.shape[2:] if spec.layout == "nchw" else rows.x.shape[1:3]
    if path.is_dir():
        return read_mask_folder(path, rows.row_ids, labels, shape, size_for(spec, _rows.image_size(size))[1])
    return check_masks(files.read_values(path, None), (len(rows), *shape))


def _range_options(wanted: bool, **options: Any) -> RangeOptions | None:
    given = {name: value for name, value in options.items() if value is not None}
    if given and not wanted:
        raise OptionError(f"--range-{min(given)} says how to judge ranges: pass --ranges too")
    return RangeOptions(**given) if wanted else None


def _show(evaluation: Evaluation) -> None:
    with_classes = any(f.anomaly_class is not None for f in evaluation.figures)
    _console.table(
        ("head", *(["anomalies"] if with_classes else []), "normal", "anomalous", "AUROC", "AUPR", "FPR@95TPR",
         "precision", "recall", "F1", "FPR", "promised"),
        [_line(f, with_classes) for f in evaluation.figures],
    )  # fmt: skip
    if evaluation.ranges:
        _console.say("")
        columns = ("over time", "events", "found", "alarms", "false", "", "precision", "recall", "F1")
        _console.table(columns, [line for head, r in evaluation.ranges.items() for line in _range_lines(head, r)])
    if evaluation.pixels is not None:
        p = evaluation.pixels
        _console.say("")
        _console.table(
            ("pixels", "AUROC", "AUPR", "PRO", "regions", "anomalous"),
            [("map", f"{p.auroc:.4f}", f"{p.average_precision:.4f}", f"{p.pro:.4f}", p.regions, f"{p.share:.2%}")],
        )


def _line(f: HeadFigures, with_classes: bool) -> tuple[object, ...]:
    auroc = None if f.intervals is None else f.intervals.auroc
    precision = None if f.intervals is None else f.intervals.average_precision
    d = f.decisions
    decided = ("-",) * 4
    if d is not None:
        decided = (_rate(d.precision), _rate(d.recall), _rate(d.f1),
                   _with_interval(d.false_positive_rate, f.false_positive_interval))  # fmt: skip
    return (
        f.head,
        *([f.anomaly_class or "all"] if with_classes else []),
        f.normal,
        f.anomalous,
        _with_interval(f.ranking.auroc, auroc),
        _with_interval(f.ranking.average_precision, precision),
        _rate(f.ranking.fpr_at_95_tpr),
        *decided,
        "-" if f.promised_rate is None else f"{f.promised_rate:.3g}",
    )


def _range_lines(head: str, r: Any) -> list[tuple[object, ...]]:
    """Three lines, one per definition, so that none of them is taken for another."""
    counts = (r.events, r.events_found, r.alarms, r.false_alarms)
    kinds = (("range-based", r.range_based), ("point-wise", r.point_wise), ("point-adjusted", r.point_adjusted))
    return [
        (head if i == 0 else "", *(counts if i == 0 else ("",) * 4), kind, *map(_rate, (p.precision, p.recall, p.f1)))
        for i, (kind, p) in enumerate(kinds)
    ]


def _rate(value: float) -> str:
    """Three digits; a dash for what is undefined, such as the precision of no alarm at all."""
    return "-" if np.isnan(value) else f"{value:.3f}"


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{value:.4f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")
