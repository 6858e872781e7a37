"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from vae_edge_runtime.device.devices import help_text
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.limits import MAX_ELEMENTS
from vae_edge_runtime.format.stream_rules import AlarmSpec

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .vaeb file.", show_default=False)]
Source = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Pictures, .npy, .npz, .csv, .tsv, .jsonl or .parquet.", show_default=False),
]
Device = Annotated[str, typer.Option(help=f"That device, or an error: {help_text()}.")]
Variant = Annotated[str, typer.Option(help="auto, or a precision in the bundle.")]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="Run on the CPU, visibly, if the device is absent.")
]
Threads = Annotated[
    int | None, typer.Option(help="Threads of one run; default: the engine's choice.", show_default=False)
]
ISOLATION: dict[str, tuple[object, object]] = {
    "isolate": (
        Annotated[
            bool, typer.Option("--isolate", help="Run the engine in a process of its own, for bundles of strangers.")
        ],
        False,
    ),
    "deadline": (
        Annotated[
            float | None,
            typer.Option(help="Seconds that a run of the engine may take; needs --isolate.", show_default=False),
        ],
        None,
    ),
    "max_memory": (
        Annotated[
            int | None,
            typer.Option(
                help="Bytes that the engine may use, from 268435456; needs --isolate and Linux.", show_default=False
            ),
        ],
        None,
    ),
}
"""Where the engine runs, by name: annotation and default. Every command with ``device`` has them (``_app``)."""
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more on stderr: versions, time, the traceback of an error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Window = Annotated[int | None, typer.Option(help="Rows per window of a table.", show_default=False)]
Stride = Annotated[int | None, typer.Option(help="Step between windows; default 1.", show_default=False)]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns of a table, comma separated; default: those of the model.", show_default=False),
]
TABLE: dict[str, tuple[object, object]] = {
    "drop_columns": (
        Annotated[str | None, typer.Option(help="Columns to leave out, comma separated.", show_default=False)],
        None,
    ),
    "header": (
        Annotated[
            bool | None,
            typer.Option("--header/--no-header", help="Line 1 holds names; default: found.", show_default=False),
        ],
        None,
    ),
    "delimiter": (
        Annotated[
            str | None,
            typer.Option(help="Between cells: one character, tab or space; default: found.", show_default=False),
        ],
        None,
    ),
    "decimal": (
        Annotated[str | None, typer.Option(help="Decimal mark, . or a comma; default: found.", show_default=False)],
        None,
    ),
    "skip_lines": (Annotated[int, typer.Option(min=0, help="Lines before the table, such as a title.")], 0),
    "skip_footer": (Annotated[int, typer.Option(min=0, help="Lines after the table, such as a sum.")], 0),
    "subtract": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="COLUMN=NUMBER, subtracted in float64 before rounding; the bundle keeps it.", show_default=False
            ),
        ],
        None,
    ),
    "missing": (
        Annotated[
            str | None,
            typer.Option(help="Words that stand for no value, comma separated, such as Bad.", show_default=False),
        ],
        None,
    ),
    "drop_missing": (
        Annotated[bool, typer.Option("--drop-missing", help="Leave out rows or windows with a missing cell.")],
        False,
    ),
}
"""How a table is read, by name: annotation and default. Every command with ``columns`` has them (``_app``)."""
Compress = Annotated[
    str | None,
    typer.Option(
        help="Bounds to compress within, comma separated: 0.1 (of the spread), 2u (data units), exact; or auto.",
        show_default=False,
    ),
]
CompressRows = Annotated[
    Path | None,
    typer.Option(help="Further normal rows to fit compression tables to; training rows serve.", show_default=False),
]
ImageSize = Annotated[str | None, typer.Option(help="Resize images to HEIGHTxWIDTH, e.g. 64x64.", show_default=False)]
Fit = Annotated[
    str | None,
    typer.Option(
        help="With --image-size: stretch (the default), pad (black) or crop; kept in the bundle.", show_default=False
    ),
]
Tile = Annotated[
    int | None, typer.Option(min=8, help="Side of square tiles that larger pictures are cut into.", show_default=False)
]
Overlap = Annotated[int, typer.Option(min=0, help="Pixels that neighbouring tiles share.")]
Target = Annotated[
    Path | None,
    typer.Option(
        help="Of a model that forecasts: its targets, one per row, .npy (n, *target_shape).", show_default=False
    ),
]
ThresholdMethod = Annotated[
    str, typer.Option(help="conformal (a quantile), or tail (peaks over threshold, for rates below 1 in n).")
]
Heads = Annotated[
    str | None,
    typer.Option(help="Ways to score, comma separated; all: every one of the bundle.", show_default=False),
]
Alarm = Annotated[
    str | None,
    typer.Option(help="K/N: an alarm needs K anomalies among the last N decisions; default 1/1.", show_default=False),
]
ClearAfter = Annotated[
    int | None, typer.Option(min=1, help="Clear decisions in a row that end an alarm; default 1.", show_default=False)
]
ClearRate = Annotated[
    float | None,
    typer.Option(help="A decision is clear where its p-value is above this rate; default: the threshold's.",
                 show_default=False),
]  # fmt: skip
CoolDown = Annotated[
    int | None, typer.Option(min=0, help="Decisions without a new alarm after one; default 0.", show_default=False)
]


def split_names(text: str | None) -> tuple[str, ...]:
    """``a,b`` to (a, b); nothing to nothing."""
    return () if text is None else tuple(name.strip() for name in text.split(","))


def whole_numbers(what: str, text: str | None, *, low: int = 0) -> tuple[int, ...]:
    """``1,32`` to (1, 32).

    Raises:
        OptionError: a part is no whole number, or below ``low``.
    """
    return tuple(_whole(what, part, low) for part in split_names(text))


def row_shape(option: str, text: str) -> tuple[int, ...]:
    """``1,28,28`` to (1, 28, 28).

    Raises:
        OptionError: it is no shape, or that of more values than a graph may make of one row.
    """
    try:
        shape = whole_numbers(option, text, low=1)
    except OptionError as error:
        raise OptionError(f"{error}; write the sizes of one row, such as 1,28,28") from None
    if not shape:
        raise OptionError(f"{option} is empty; write the sizes of one row, such as 1,28,28")
    if math.prod(shape) > MAX_ELEMENTS:
        raise OptionError(f"{option} {text:.40} is of {math.prod(shape):,} values; a row has at most {MAX_ELEMENTS:,}")
    return shape


def thread_counts(text: str | None, *, low: int = 0) -> tuple[int | None, ...]:
    """``1,auto`` to (1, None): None leaves threads to the engine.

    Raises:
        OptionError: as ``whole_numbers``.
    """
    return tuple(None if part == "auto" else _whole("threads", part, low) for part in split_names(text))


def is_whole(text: str) -> bool:
    """Whether ``text`` is a whole number of at most 18 digits: Python refuses to read more than 4,300."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _whole(what: str, text: str, low: int) -> int:
    if not (is_whole(text) and int(text) >= low):
        raise OptionError(f"{what}: {text!r:.80} is no whole number{f' from {low}' if low else ''}")
    return int(text)


def alarm_spec(
    default: AlarmSpec, alarm: str | None, clear_after: int | None, clear_rate: float | None, cool_down: int | None
) -> AlarmSpec:
    """The rules for alarms: ``default`` where an option was not given.

    Raises:
        OptionError: ``alarm`` is not K/N, or a value is out of range.
    """
    raise_after, of = default.raise_after, default.of
    if alarm is not None:
        k, slash, n = alarm.partition("/")
        if not (slash and is_whole(k) and is_whole(n) and 1 <= int(k) <= int(n)):
            raise OptionError(f"alarm is {alarm!r}; write K/N with K from 1 to N, such as 3/5")
        raise_after, of = int(k), int(n)
    if clear_rate is not None and not 0 < clear_rate < 1:
        raise OptionError(f"clear rate is {clear_rate}; it is inside (0, 1)")
    return AlarmSpec(
        raise_after,
        of,
        default.clear_after if clear_after is None else clear_after,
        default.clear_rate if clear_rate is None else clear_rate,
        default.cool_down if cool_down is None else cool_down,
    )
