"""``vae-edge watch``."""

from __future__ import annotations

import contextlib
import json as jsons
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from vae_edge.maps import scale_of
from vae_edge.watch import appended, open_source
from vae_edge_runtime import VAE, load
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError, StorageError
from vae_edge_runtime.files import write_atomic
from vae_edge_runtime.stdio import write
from vae_edge_runtime.stream import Event, Stream

from . import _console, _options, _pictures, _rows

NAME = "watch"
EXAMPLE = "vae-edge watch pump.vaeb sensors.csv --follow --time-column time --only changes"

_ONLY = ("decisions", "changes", "anomalies")
_SHOW_S = 0.2


def run(
    bundle: _options.Bundle,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .csv, .jsonl, .parquet or video file, a folder of images, camera:0, or - for JSON Lines on stdin.",
            show_default=False,
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", help="Go on where a .csv, .jsonl or folder ends.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Append events to this .jsonl; default: stdout.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="decisions (all), changes (of alarms and faults), or anomalies.")
    ] = "decisions",
    heads: _options.Heads = None,
    stride: Annotated[
        int | None, typer.Option(help="Rows between windows; default: a window, no overlap.", show_default=False)
    ] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Seconds or ISO 8601, to find gaps; of JSON the key.", show_default=False)
    ] = None,
    columns: _options.Columns = None,
    image_size: _options.ImageSize = None,
    alarm: _options.Alarm = None,
    clear_after: _options.ClearAfter = None,
    clear_rate: _options.ClearRate = None,
    cool_down: _options.CoolDown = None,
    stale: Annotated[
        float | None,
        typer.Option(help="Seconds of silence that are an event: --follow, camera, -.", show_default=False),
    ] = None,
    impute: Annotated[bool, typer.Option("--impute", help="Let the model fill in missing cells of windows.")] = False,
    no_drift: Annotated[bool, typer.Option("--no-drift", help="Do not test for drift.")] = False,
    maps: Annotated[Path | None, typer.Option(help="Folder for a PNG per anomaly.", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=0, help="Features to name per anomaly.")] = 3,
    queue: Annotated[
        int,
        typer.Option(min=1, help="Rows of a camera (of - with --stale) that may wait; then the oldest are dropped."),
    ] = 1024,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop at the decision that takes in row N.", show_default=False)
    ] = None,
    device: _options.Device = "auto",
    variant: _options.Variant = "auto",
    allow_fallback: _options.AllowFallback = False,
    threads: _options.Threads = None,
) -> None:
    """Decide about rows as they come: one JSON line per decision, with alarms, sensor faults and drift.

    Ends with the source, on Ctrl-C, or quietly on SIGTERM; a summary goes to stderr.
    """
    if only not in _ONLY:
        raise OptionError(f"only is {only!r}; valid are {', '.join(_ONLY)}")
    if output is not None and output.is_dir():
        raise OptionError(f"{output} is a folder; name a file in it")
    if maps is not None:
        _make_folder(maps)
    with load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae:
        _console.header(vae.info)
        spec, rules = vae.manifest.input, vae.manifest.stream
        opened = open_source(
            source,
            spec,
            follow=follow,
            time_column=time_column,
            columns=_options.split_names(columns),
            size=_rows.image_size(image_size),
            table=_rows.table_options(),
            note=_console.note,
        )
        if stale is not None and not opened.may_pause:
            raise OptionError(
                f"{source} is read to its end and cannot be stale: --stale is for --follow, a camera or -"
            )
        stream = vae.stream(
            opened.rows,
            stride=stride,
            heads=vae.heads if heads == "all" else _options.split_names(heads),
            # A pipe that is read here cannot be seen to be silent; files and folders say when nothing is new.
            live=opened.live or (stale is not None and source == "-"),
            queue_rows=queue,
            alarm=None
            if rules is None
            else _options.alarm_spec(rules.alarm, alarm, clear_after, clear_rate, cool_down),
            drift=not no_drift,
            impute="auto" if impute else "off",
            maps="off" if maps is None else "anomalies",
            top=top,
            stale_s=stale,
        )
        top_of_scale = 0.0 if maps is None else scale_of(vae).top
        start = time.perf_counter()
        faults: Counter[str] = Counter()
        try:
            with stream, _sink(output) as emit, _stopped_by_sigterm(stream), _progress(output) as show:
                wanted, shown = _Filter(only), start
                for event in stream:
                    faults.update(event.faults)
                    if maps is not None and event.map is not None:
                        _write_map(maps, event, vae, top_of_scale)
                    if wanted(event) and not emit(jsons.dumps(event.to_dict(), allow_nan=False) + "\n"):
                        break  # the reader of a pipe has gone away
                    if (now := time.perf_counter()) - shown > _SHOW_S:
                        shown = now
                        show(0, label=f"{event.index + 1:,} rows, {stream.counters['anomalies']} anomalies")
                    if limit is not None and event.index >= limit - 1:
                        break
        finally:
            _console.note(_summary(stream.counters, faults, time.perf_counter() - start))


class _Filter:
    """Which events are written."""

    def __init__(self, only: str) -> None:
        self._only = only
        self._faults: tuple[str, ...] = ()

    def __call__(self, event: Event) -> bool:
        if self._only == "decisions" or event.kind != "decision":
            return True
        changed, self._faults = event.faults != self._faults, event.faults
        if self._only == "changes":
            return changed or event.alarm in ("raised", "cleared")
        return bool(event.is_anomaly) or (changed and bool(event.faults))


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[Callable[[str], bool]]:
    """Where lines go; False once nobody reads them."""
    if output is None:
        yield lambda line: write(sys.stdout, line)
        return
    with appended(output) as (append, cut):
        if cut:
            _console.note(f"{output} ended with half an event: {cut} bytes of it were cut off")

        def emit(line: str) -> bool:
            append(line)
            return True

        yield emit


def _progress(output: Path | None) -> contextlib.AbstractContextManager[_console.Step]:
    """Shown where events go to a file; on stdout they are the progress."""
    if output is not None:
        return _console.progress("watching", None)

    def silent(steps: int = 1, *, label: str | None = None) -> None:
        pass

    return contextlib.nullcontext(silent)


class _Terminated(Exception):
    """SIGTERM, as a service manager sends it."""


@contextlib.contextmanager
def _stopped_by_sigterm(stream: Stream) -> Iterator[None]:
    """SIGTERM ends the stream as its source would; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the stream is being closed
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        _console.note("terminated")
    finally:
        signal.signal(signal.SIGTERM, before)
        stream.close()


def _make_folder(folder: Path) -> None:
    require("PIL", extra="images", why="writing maps")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} could not be made: {error.strerror}") from error


def _write_map(folder: Path, event: Event, vae: VAE, top: float) -> None:
    assert event.map is not None  # the caller has looked
    assert event.row is not None
    pixels = _pictures.overlay(event.row, event.map, vae.manifest.input, top)
    label = re.sub(r"[^A-Za-z0-9._-]+", "_", str(event.time)) if event.time is not None else ""
    write_atomic(folder / f"{event.index:012d}{'-' + label[-80:] if label else ''}.png", [_pictures.to_png(pixels)])


def _summary(counters: dict[str, int], faults: Counter[str], seconds: float) -> str:
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
    lost = "".join(f", {counters[name]} {name}" for name in ("dropped", "late", "imputed") if counters[name])
    return (
        f"{counters['rows']} rows, {counters['decisions']} decisions: {counters['anomalies']} anomalies, "
        f"{counters['alarms']} alarms, {counters['faults']} without a score{f' ({kinds})' if kinds else ''}, "
        f"{counters['drifts']} drifts{lost}; {counters['rows'] / max(seconds, 1e-9):,.0f} rows/s"
    )
