"""``vae-edge export --for generation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from numpy.typing import NDArray

from vae_edge_runtime.errors import OptionError

from . import _console, _options, _tables

if TYPE_CHECKING:
    from vae_edge_export import GenerationReport

PURPOSES = ("scoring", "generation")
_OF_SCORES = (
    "evaluation", "label_column", "heads", "top_share", "draws", "map_sigma", "map_channels", "false_positive_rate",
    "threshold_method", "alarm", "clear_after", "clear_rate", "cool_down", "stuck_rows", "period_s", "precision",
    "gate", "compress", "compress_rows", "tile", "overlap", "target", "missing_values",
)  # fmt: skip
"""Options of ``export`` that a bundle without scores has no use for."""
_STAGES = 6


def check_purpose(
    context: typer.Context, purpose: str, calibration: Path | None, shape: str | None, latent_shape: str | None
) -> None:
    """The options fit what the bundle is for.

    Raises:
        OptionError: an unknown purpose, no calibration rows for scores, or an option of the other purpose.
    """
    if purpose not in PURPOSES:
        raise OptionError(f"--for is {purpose!r}; valid are {', '.join(PURPOSES)}")
    if purpose == "scoring":
        if shape is not None or latent_shape is not None:
            raise OptionError("--shape and --latent-shape are for --for generation; scores need calibration rows")
        if calibration is None:
            raise OptionError(
                "pass --calibration: normal rows the model was not trained on set the threshold. To sample and decode "
                "alone, say --for generation"
            )
    elif wrong := [name for name in _OF_SCORES if _was_given(context, name)]:
        raise OptionError(f"--{wrong[0].replace('_', '-')} is about scores, and --for generation exports none")


def run(
    model: Any,
    output: Path,
    given: tuple[NDArray[Any], NDArray[Any] | None, dict[str, Any]] | None,
    shape: str | None,
    latent_shape: str | None,
    options: dict[str, Any],
    halves: dict[str, Any],
    force: bool,
    json: bool,
) -> None:
    """Export for generation and show what was measured.

    Args:
        given: rows, their conditions, and the options completed with what the file says; None: no rows.
        options: of ``ExportConfig``. halves: what ``export_for_generation`` takes to find them.
    """
    from vae_edge_export import ExportConfig, export_for_generation

    rows, condition, said = given or (None, None, {})
    with _console.progress("exporting", _STAGES) as step:
        report = export_for_generation(
            model, output, rows=rows, condition=condition, shape=_shape("--shape", shape),
            latent_shape=_shape("--latent-shape", latent_shape), config=ExportConfig(**(options | said)), force=force,
            progress=lambda stage: step(label=stage), **halves,
        )  # fmt: skip
    if json:
        _console.print_json("export", {"report": report.to_dict()})
    else:
        _show(report)


def _show(report: GenerationReport) -> None:
    for line in report.evidence:
        _console.note(line)
    if report.fit is not None:
        _console.say(str(report.fit))
    if report.samples is not None:
        _console.say(str(report.samples))
    _tables.parity(report.parity)
    for warning in report.warnings:
        _console.note(f"warning: {warning}")
    _console.say(
        f"{report.path}: {report.size_bytes:,} bytes, for {report.purpose}: it samples and decodes, and has no scores; "
        f"{sum(report.seconds.values()):.1f} s"
    )
    use = "decode" if report.samples is None else "sample"
    _console.next_steps(("verify", report.path), (use, report.path), after=" ...")


def _shape(option: str, text: str | None) -> tuple[int, ...] | None:
    return None if text is None else _options.row_shape(option, text)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")
