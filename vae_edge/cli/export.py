"""``vae-edge export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from numpy.typing import NDArray

from vae_edge.data import read
from vae_edge.data.fitting import check_fit
from vae_edge.data.options import in_model_order
from vae_edge.data.tables import SUFFIXES as TABLES
from vae_edge_runtime.errors import CalibrationError, OptionError, ParityFailed, VerdictFailed
from vae_edge_runtime.format.figures import Verdict
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.storage.files import refuse_existing
from vae_edge_runtime.text import counted, printable

from . import _console, _generation, _help, _options, _rows, _source, _tables
from ._calibration import labelled_rows, rows_and_layout

if TYPE_CHECKING:
    from vae_edge_export import ExportReport

NAME = "export"
EXAMPLE = "vae-edge export run --calibration good_parts/ --name pump --licence MIT -o pump.vaeb"

PANELS: _help.Panels = {
    "Options that most exports need": ("output", "calibration", "evaluation", "weights", "name", "precision"),
    "For generation alone": ("purpose", "shape", "latent_shape"),
    "What the model is": (
        "weights_key", "trust_pickle", "encode", "decode", "scale_form", "codebook", "prior", "likelihood", "variance",
        "logits", "allow_poor_fit",
    ),
    "Rows": (
        "target", "missing_values",
        "offset", "scale", "layout", "label_column", "columns", "window", "stride", "image_size", "fit", "tile",
        "overlap", "dynamic_size", "size_multiple",
    ),
    "How a table is read": tuple(_options.TABLE),
    "Scoring": ("heads", "top_share", "draws", "map_sigma", "map_channels", "false_positive_rate", "threshold_method"),
    "Alarms": ("alarm", "clear_after", "clear_rate", "cool_down", "stuck_rows", "period_s"),
    "Variants": ("gate", "output_dtype"),
    "Compression": ("compress", "compress_rows"),
    "Model card": ("model_version", "release", "licence", "origin", "description"),
    "Output": ("force", "json", "verbose", "quiet", "help"),
}  # fmt: skip

_STAGES = 11
_SMALLEST_SIDE = 8
"""Of colour pictures whose maps are whitened: the Gaussian reaches 3 pixels to each side."""
_PICTURES = ("nchw", "nhwc")
_LEAST_R2 = -0.5
"""A model that gives the mean row for every row has 0. Trained models had 0.10 to 0.84, models with a forgotten scale,
likelihood or file of weights -478 to -0.71. Between the two lie models that learned nothing, of which export warns."""


def run(
    context: typer.Context,
    source: _source.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .vaeb file to write.", show_default=False)],
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Normal rows the model was not trained on; they set the threshold. With --for generation: a few rows "
            "to verify with, or none.",
            show_default=False,
        ),
    ] = None,
    purpose: Annotated[
        str,
        typer.Option("--for", help="scoring; or generation: sample, encode and decode, without scores or thresholds."),
    ] = "scoring",
    shape: Annotated[
        str | None,
        typer.Option(help="With --for generation and no rows: shape of one row, such as 1,28,28.", show_default=False),
    ] = None,
    latent_shape: Annotated[
        str | None,
        typer.Option(help="With --for generation, of a decoder alone: shape of one latent.", show_default=False),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Held-out rows with labels for the verdict gate.", show_default=False)
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Labels in --evaluation: a column, or a key of an .npz (default y).", show_default=False),
    ] = None,
    target: _options.Target = None,
    missing_values: Annotated[
        str | None,
        typer.Option(
            "--missing-values",
            help="Rows hold NaN: mask (the encoder takes a mask last), or nan (it takes NaN).",
            show_default=False,
        ),
    ] = None,
    weights: _source.Weights = None,
    weights_key: _source.WeightsKey = None,
    trust_pickle: _source.TrustPickle = False,
    encode: _source.Encode = None,
    decode: _source.Decode = None,
    scale_form: _source.ScaleForm = None,
    codebook: _source.Codebook = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="What sample draws from: standard_normal, fitted, none, or an .npy of code probabilities.",
            show_default=False,
        ),
    ] = None,
    likelihood: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(LIKELIHOODS)}.", show_default=False)
    ] = None,
    variance: _source.Variance = None,
    logits: Annotated[bool, typer.Option("--logits", help="The bernoulli decoder gives logits.")] = False,
    offset: _source.Offset = None,
    scale: _source.Scale = None,
    layout: _source.Layout = None,
    heads: Annotated[
        str | None,
        typer.Option(
            help=f"Ways to score, comma separated, the default one first: {', '.join(HEADS)}. Default: elbo; "
            "of pictures elbo,top,peak, and the export says which to decide by.",
            show_default=False,
        ),
    ] = None,
    top_share: Annotated[float, typer.Option(help="Share of the map's elements that head top averages.")] = 0.01,
    draws: Annotated[int, typer.Option(min=1, help="Posterior draws per row, for heads that sample.")] = 8,
    map_sigma: Annotated[float, typer.Option(min=0, help="Smooth maps, in pixels or steps.")] = 0.0,
    map_channels: Annotated[
        str, typer.Option(help="Of colour pictures: whitened shows a wrong colour, plain adds channels up; auto.")
    ] = "auto",
    false_positive_rate: Annotated[float, typer.Option(help="Share of normal rows above the threshold.")] = 0.01,
    threshold_method: _options.ThresholdMethod = "conformal",
    alarm: _options.Alarm = None,
    clear_after: _options.ClearAfter = None,
    clear_rate: _options.ClearRate = None,
    cool_down: _options.CoolDown = None,
    stuck_rows: Annotated[
        int | None,
        typer.Option(min=0, help="Equal rows that are a stuck sensor; default: measured.", show_default=False),
    ] = None,
    period_s: Annotated[
        float | None, typer.Option(help="Seconds between rows of a stream, to find gaps.", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Variants, comma separated: fp32, fp16, int8 (for TensorRT), int8-cpu.")
    ] = "fp32",
    gate: Annotated[
        list[str] | None,
        typer.Option(help="What a variant must keep of fp32, as in int8.min_psnr_db=25.", show_default=False),
    ] = None,
    output_dtype: Annotated[str, typer.Option(help="Type that decode returns: float32 or uint8.")] = "float32",
    compress: _options.Compress = None,
    compress_rows: _options.CompressRows = None,
    name: Annotated[
        str | None, typer.Option(help="Name on the model card; default: the output's name.", show_default=False)
    ] = None,
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    release: Annotated[int, typer.Option(min=1, help="Counts up with every bundle that replaces another.")] = 1,
    licence: Annotated[str, typer.Option("--licence", "--license", help="Licence of the weights.")] = "unspecified",
    origin: Annotated[str, typer.Option(help="Where the model comes from.")] = "",
    description: Annotated[str, typer.Option(help="What the model is for, in a sentence.")] = "",
    window: _options.Window = None,
    stride: Annotated[
        int | None, typer.Option(help="Step between windows; default: a whole window.", show_default=False)
    ] = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    fit: _options.Fit = None,
    tile: _options.Tile = None,
    overlap: _options.Overlap = 0,
    dynamic_size: _source.DynamicSize = False,
    size_multiple: _source.SizeMultiple = None,
    allow_poor_fit: Annotated[
        bool, typer.Option("--allow-poor-fit", help="Export a model that rebuilds rows worse than their mean does.")
    ] = False,
    json: _options.Json = False,
    force: _options.Force = False,
) -> None:
    """Export a trained VAE into one verified bundle.

    For pictures it measures which of its heads to decide by; score --head and recalibrate --default-head take it.
    The model must rebuild normal rows better than their mean row does. Every graph is compared with
    PyTorch, and final scores and decisions too; a miss prints the
    table, exits with 1 and writes nothing. With --for generation nothing is scored: pass --shape in place of rows.
    """
    refuse_existing(output, force=force)
    _generation.check_purpose(context, purpose, calibration, shape, latent_shape)
    opened = _source.open_source(source, weights, trust_pickle=trust_pickle, weights_key=weights_key)
    from vae_edge_export import ExportConfig, export
    from vae_edge_export.gates import parse_gates

    options: dict[str, Any] = opened.export_options | given(
        likelihood=likelihood, variance=variance, logits=logits or None, offset=numbers(offset), scale=numbers(scale),
        layout=layout,
    )  # fmt: skip
    if window is None and calibration is not None and calibration.suffix.lower() in TABLES:
        window = opened.window
    own_stride, stride = stride, window if stride is None else stride
    size = _rows.image_size(image_size)
    reader: dict[str, Any] = {"window": window, "stride": stride, "image_shape": size, "fit": check_fit(fit, size)}
    reader["columns"] = in_model_order(_rows.split_columns(columns), options.get("names", ()))
    card: dict[str, Any] = {
        "name": name or printable(output.stem, one_line=True), "version": model_version, "licence": licence,
        "source": origin, "description": description, "release": release, "output_dtype": output_dtype,
        "fit": fit or "exact", "least_r2": _LEAST_R2, "allow_poor_fit": allow_poor_fit,
        "dynamic_size": dynamic_size, "size_multiple": size_multiple,
    }  # fmt: skip
    model: dict[str, Any] = {
        "scale_form": scale_form, "codebook": codebook, "prior": _prior(prior), **_source.halves(encode, decode),
    }  # fmt: skip
    row = None if tile is not None or dynamic_size else opened.row
    if calibration is None or purpose == "generation":
        given_rows = None
        if calibration is not None:
            given_rows = rows_and_layout(calibration, reader, options, row, own_offset=offset is not None)
        _generation.run(opened.model, output, given_rows, shape, latent_shape, options | card, model, force, json)
        return
    rows, condition, options = rows_and_layout(calibration, reader, options, row, own_offset=offset is not None)
    if fit is None and size is not None and tile is None and not dynamic_size and options["layout"] in _PICTURES:
        card["fit"] = "stretch"  # what was done to the calibration pictures
    every_anomaly = AlarmSpec(1, 1, 1, false_positive_rate, 0) if 0 < false_positive_rate < 1 else None
    config = ExportConfig(
        heads=_options.split_names(heads),
        top_share=top_share,
        draws=draws,
        map_sigma=map_sigma,
        map_channels=_map_channels(map_channels, rows, options),  # type: ignore[arg-type]
        false_positive_rate=false_positive_rate,
        threshold_method=threshold_method,  # type: ignore[arg-type]
        alarm=every_anomaly and _options.alarm_spec(every_anomaly, alarm, clear_after, clear_rate, cool_down),
        stuck_rows=stuck_rows,
        period_s=period_s,
        precisions=_options.split_names(precision),  # type: ignore[arg-type]
        gates=parse_gates(tuple(gate or ())),
        tile=tile,
        overlap=overlap,
        compress=compress,
        **card,
        **options,
    )
    further = (
        None if compress_rows is None else rows_and_layout(compress_rows, reader, options, row, own_offset=False)[0]
    )
    labelled = None
    if evaluation is not None:
        labelled = labelled_rows(evaluation, reader, label_column, config, row)
    try:
        with _console.progress("exporting", _STAGES) as step:
            report = export(
                opened.model,
                output,
                calibration=rows,
                condition=condition,
                target=None if target is None else _rows.targets_of(target, len(rows)),
                missing=missing_values,  # type: ignore[arg-type]
                evaluation=labelled,
                compress_rows=further,
                config=config,
                force=force,
                progress=lambda stage: step(label=stage),
                **model,
            )
    except CalibrationError as error:
        if window is None or own_stride is not None:
            raise
        raise CalibrationError(
            f"{error}. The table was cut into windows without overlap, which count as independent: take more rows, or "
            f"--stride {max(1, window // 4)} for overlapping windows",
            needed=error.needed,
        ) from error
    except ParityFailed as missed:
        _tables.parity(missed.report, err=True)
        raise
    except VerdictFailed as missed:
        if isinstance(missed.report, Verdict):
            _verdict_line(missed.report, err=True)
        else:
            _tables.gate(missed.report)
        raise
    if json:
        _console.print_json(NAME, {"report": report.to_dict()})
    else:
        _show(report, compress)


def _show(report: ExportReport, compress: str | None) -> None:
    for line in report.evidence:
        _console.note(line)
    _console.say(str(report.fit))
    _tables.parity(report.parity)
    _verdict_line(report.verdict)
    _tables.thresholds(report.default_head, report.calibration, report.channels)
    if len(report.variants) > 1 or report.default_variant != "fp32":
        _tables.variants(report.variants, report.graph_bytes)
    for line in report.advice:
        _console.say(line)
    if report.compression is not None:
        _tables.compression(report.compression, compress)
    for warning in report.warnings:
        _console.note(f"warning: {warning}")
    _console.say(
        f"{report.path}: {report.size_bytes:,} bytes, {report.stored_weight_bytes:,} of them weights; exported in "
        f"{sum(report.seconds.values()):.1f} s"
    )
    _console.next_steps(("verify", report.path), ("score", report.path, "ROWS"))


def _verdict_line(v: Verdict, *, err: bool = False) -> None:
    text = (
        f"compared with PyTorch on held-out rows: {v.flipped:,} of {counted(v.rows, 'decision')} differ, "
        f"rank correlation {v.rank_correlation:.6f}, "
        f"score error max {v.score_error_max:.2g}, p99 {v.score_error_p99:.2g}"
    )
    if v.auroc is not None and v.auroc_torch is not None:
        text += f", AUROC {v.auroc:.4f} (PyTorch {v.auroc_torch:.4f})"
    (_console.complain if err else _console.say)(text)


def _map_channels(wish: str, rows: NDArray[Any], options: dict[str, Any]) -> str:
    """``auto``: whitened for colour pictures and a likelihood of squares, which have residuals to whiten."""
    if wish != "auto":
        return wish
    layout, likelihood = options.get("layout"), options.get("likelihood", "mse")
    channels = {"nchw": 1, "nhwc": 3}.get(str(layout))
    colour = channels is not None and rows.ndim == 4 and rows.shape[channels] == 3
    squares = likelihood == "mse" or (likelihood == "gaussian" and options.get("variance") is not None)
    if not (colour and squares):
        return "plain"
    sides = rows.shape[1:3] if channels == 3 else rows.shape[2:]
    return "whitened" if min(sides) >= _SMALLEST_SIDE else "plain"


def _prior(text: str | None) -> Any:
    """A word, or the array of an .npy file."""
    if text is None or not text.endswith(".npy"):
        if text not in (None, "standard_normal", "fitted", "none"):
            raise OptionError(f"prior is {text!r}; valid are standard_normal, fitted, none, or an .npy file")
        return text
    return read(Path(text)).x


def numbers(text: str | None) -> tuple[float, ...] | None:
    """``1,2.5`` to (1.0, 2.5).

    Raises:
        OptionError: it is no list of numbers.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{text!r} is not a comma separated list of numbers") from None


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}
