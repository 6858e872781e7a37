"""``vae-edge watch``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from vae_edge.data.folders import SUFFIXES as PICTURES
from vae_edge.maps import scale_of
from vae_edge.watch import open_source
from vae_edge.watch.compressed import CompressedFile
from vae_edge.watch.events_file import EventsFile, Sink, Stdout, events_file
from vae_edge.watch.journal import HOLD_S, Filter, Journal
from vae_edge.watch.resuming import Watched
from vae_edge.watch.state_file import StateFile, locked
from vae_edge_runtime import VAE
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.scoring.purpose import refuse_unscored
from vae_edge_runtime.storage.files import write_atomic
from vae_edge_runtime.storage.folders import make_folder
from vae_edge_runtime.stream import Event, Stream
from vae_edge_runtime.text import counted

from . import _console, _options, _pictures, _rows
from ._session import load
from .compress import Bound, Exact, Latents, Triage

NAME = "watch"
EXAMPLE = "vae-edge watch pump.vaeb sensors.csv --follow --time-column time --only changes"

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
        str,
        typer.Option(help="decisions (all), changes (of alarms and faults), anomalies, or alarms (raised or cleared)."),
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
    state: Annotated[
        Path | None, typer.Option(help="File to go on from after a restart: place, alarm, windows.", show_default=False)
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on from the state of another bundle; drift tests begin anew.")
    ] = False,
    rotate_at: Annotated[
        int | None,
        typer.Option(min=4096, help="Bytes at which the file of events becomes FILE.1.", show_default=False),
    ] = None,
    rotate_keep: Annotated[int, typer.Option(min=1, max=999, help="Rotated files of events to keep.")] = 5,
    compress: Annotated[
        Path | None,
        typer.Option(help="Append every row to this .vaez; with --bound, --exact or --triage.", show_default=False),
    ] = None,
    bound: Bound = None,
    exact: Exact = False,
    latents: Latents = False,
    triage: Triage = False,
) -> None:
    """Decide about rows as they come: one JSON line per decision, with alarms, sensor faults and drift.

    Ends with the source, on Ctrl-C, or quietly on SIGTERM; a summary goes to stderr. A reader of stdout that goes
    away is an error. SIGHUP opens the file of events anew.
    """
    Filter(only)
    for file in (output, state):
        if file is not None and file.is_dir():
            raise OptionError(f"{file} is a folder; name a file in it")
    if rotate_at is not None and output is None:
        raise OptionError("--rotate-at is for a file of events: name it with -o")
    if state is not None and limit is not None:
        raise OptionError("--limit stops in the middle and --state goes on behind whole blocks: leave one out")
    if take_over and state is None:
        raise OptionError("--take-over is for the state of another bundle: name it with --state")
    how: dict[str, Any] = {"bound": bound, "exact": exact, "latents": latents, "triage": triage}
    if compress is None and any(how.values()):
        raise OptionError("--bound, --exact, --latents and --triage say how --compress writes: name its file")
    if maps is not None:
        require("PIL", extra="images", why="writing maps")
        make_folder(maps)
    with (
        _state(state) as (state_file, saved),
        load(bundle, device=device, variant=variant, allow_fallback=allow_fallback, threads=threads) as vae,
    ):
        _console.header(vae.info)
        refuse_unscored(vae.manifest)
        rules = vae.manifest.stream
        watched = Watched(
            vae.info.bundle_id,
            vae.manifest.release,
            source if source == "-" or source.startswith("camera:") else os.path.abspath(source),  # noqa: PTH100
            {"--stride": stride, "--time-column": time_column, "--columns": columns, "--image-size": image_size},
        )
        same_model = saved is None or state is None or watched.check(saved, state, take_over=take_over)
        if saved is not None and saved.get("compressed") and compress is None and not take_over:
            raise OptionError(
                f"{state} goes with --compress {saved['compressed'].get('file')}: name it, or another state"
            )
        opened = open_source(
            source,
            vae.manifest.input,
            follow=follow,
            time_column=time_column,
            columns=_options.split_names(columns),
            size=_rows.image_size(image_size),
            table=_rows.table_options(),
            note=_console.note,
            resumable=state is not None,
            position=None if saved is None else saved.get("position"),
        )
        if stale is not None and not opened.may_pause:
            raise OptionError(
                f"{source} is read to its end and cannot be stale: --stale is for --follow, a camera or -"
            )
        # A pipe that is read here cannot be seen to be silent; files and folders say when nothing is new.
        live = opened.live or (stale is not None and source == "-")
        stream = vae.stream(
            opened.rows,
            stride=stride,
            heads=vae.heads if heads == "all" else _options.split_names(heads),
            live=live,
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
        if saved is not None:
            again = "" if opened.position else f"{source} cannot be read twice: rows between two runs are not known"
            stream.restore(
                saved.get("stream", {}), same_model=same_model, same_clock=not opened.live, lost=opened.lost or again
            )
            _console.note(f"{state}: goes on behind row {stream.counters['rows']:,}")
        top_of_scale = 0.0 if maps is None else scale_of(vae).top
        start, rows_before = time.perf_counter(), stream.counters["rows"]
        faults: Counter[str] = Counter()
        try:
            with (
                stream,
                _compressed(
                    vae, compress, how, saved if same_model else None, again=opened.position is not None
                ) as compressed,
                _sink(output, rotate_at, rotate_keep) as sink,
                _stopped_by_sigterm(stream),
                contextlib.closing(
                    Journal(
                        sink,
                        bundle_id=watched.bundle_id,
                        release=watched.release,
                        only=only,
                        state_file=state_file,
                        saved=saved,
                        hold_s=0 if source == "-" and not live else HOLD_S,
                    )
                ) as journal,
                _progress(output) as show,
            ):

                def state_now() -> dict[str, Any]:
                    position = None if opened.position is None else opened.position()
                    kept = {} if compressed is None else {"compressed": compressed.state()}
                    return watched.to_dict() | {"position": position, "stream": stream.state()} | kept

                stream.on_rows = None if compressed is None else compressed.take
                stream.on_settled = lambda last: journal.settled(stream.counters["rows"], last, state_now)
                shown = start
                for event in stream:
                    faults.update(event.faults)
                    if maps is not None and event.map is not None:
                        _write_map(maps, event, vae, top_of_scale)
                    journal.take(event)
                    if (now := time.perf_counter()) - shown > _SHOW_S:
                        shown = now
                        show(
                            0,
                            label=f"{counted(event.index + 1, 'row')}, "
                            f"{counted(stream.counters['anomalies'], 'anomaly', 'anomalies')}",
                        )
                    if limit is not None and event.index >= limit - 1:
                        break
        finally:
            if stream.warning is not None:
                _console.note(f"note: {stream.warning}")
            _console.note(_summary(stream.counters, faults, rows_before, time.perf_counter() - start))


@contextlib.contextmanager
def _compressed(
    vae: VAE, path: Path | None, how: dict[str, Any], saved: dict[str, Any] | None, *, again: bool
) -> Iterator[CompressedFile | None]:
    """The file that rows are appended to; what an earlier process left in it is said."""
    if path is None:
        yield None
        return
    with CompressedFile(vae, path, saved=(saved or {}).get("compressed"), again=again, **how) as file:
        if file.dropped_bytes:
            _console.note(f"{path} ended with a torn block: {file.dropped_bytes} bytes of it were dropped")
        yield file
    if file.left_over:
        _console.note(f"{path}: the last {counted(file.left_over, 'row')} fill no window yet and are not in it")


@contextlib.contextmanager
def _sink(output: Path | None, rotate_at: int | None, keep: int) -> Iterator[Sink]:
    """Where lines go; SIGHUP opens a file of events anew."""
    if output is None:
        yield Stdout()
        return
    with events_file(output, rotate_bytes=rotate_at, keep=keep) as file, _reopened_by_sighup(file):
        if file.cut:
            _console.note(f"{output} ended with half an event: {file.cut} bytes of it were cut off")
        yield file


@contextlib.contextmanager
def _reopened_by_sighup(file: EventsFile) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: file.reopen())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _state(path: Path | None) -> Iterator[tuple[StateFile | None, dict[str, Any] | None]]:
    """The state file and what it holds."""
    if path is None:
        yield None, None
        return
    with locked(path) as file:
        yield file, file.read()


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


def _write_map(folder: Path, event: Event, vae: VAE, top: float) -> None:
    assert event.map is not None  # the caller has looked
    assert event.row is not None
    pixels = _pictures.overlay(event.row, event.map, vae.manifest.input, top)
    said = "" if event.time is None else str(event.time)
    said = said[: -len(Path(said).suffix)] if Path(said).suffix.lower() in PICTURES else said
    label = re.sub(r"[^A-Za-z0-9._-]+", "_", said)
    write_atomic(folder / f"{event.index:012d}{'-' + label[-80:] if label else ''}.png", [_pictures.to_png(pixels)])


def _summary(counters: dict[str, int], faults: Counter[str], rows_before: int, seconds: float) -> str:
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
    lost = "".join(f", {counters[name]} {name}" for name in ("dropped", "late", "imputed") if counters[name])
    return (
        f"{counted(counters['rows'], 'row')}, {counted(counters['decisions'], 'decision')}: "
        f"{counted(counters['anomalies'], 'anomaly', 'anomalies')}, "
        f"{counted(counters['alarms'], 'alarm')}, {counters['faults']} without a "
        f"score{f' ({kinds})' if kinds else ''}, "
        f"{counted(counters['drifts'], 'drift')}{lost}; "
        f"{(counters['rows'] - rows_before) / max(seconds, 1e-9):,.0f} rows/s"
    )
