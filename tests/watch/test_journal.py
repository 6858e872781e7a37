"""Events and their state where a signal ends the process between any two lines: each event reaches the file once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from vae_edge.watch import events_file as sinks
from vae_edge.watch import journal as journals
from vae_edge.watch import state_file as states
from vae_edge.watch.events_file import events_file
from vae_edge.watch.journal import Journal
from vae_edge.watch.state_file import StateFile
from vae_edge_runtime.stream import Event

BLOCK = 5
PLACES = {module.__file__ for module in (sinks, journals, states)}


class Signal(BaseException):
    """What a handler of SIGTERM or Ctrl-C raises, wherever the process is."""


class SignalAtLine:
    """Raises at one line of those that are run in the modules of the journal.

    Attributes:
        lines: run so far.
    """

    def __init__(self, at: int) -> None:
        self._at, self.lines = at, 0

    def __enter__(self) -> SignalAtLine:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, kind: str, _arg: object) -> Any:
        if frame.f_code.co_filename not in PLACES:
            return None
        if kind == "line":
            self.lines += 1
            if self.lines == self._at:
                raise Signal
        return self._trace


def run(folder: Path, signal_at: int, rotate_bytes: int | None, renamed: bool) -> int:
    """Two blocks of events with a signal at that line, and the start after it; lines that were run.

    With ``renamed`` another program renames the file before the second block, and SIGHUP says so.
    """
    file, path, other = StateFile(folder / "state"), folder / "events.jsonl", folder / "other"
    how: dict[str, Any] = {"rotate_bytes": rotate_bytes, "keep": 99}

    def begin(sink: sinks.Sink) -> Journal:
        return Journal(sink, bundle_id="b", release=1, state_file=file, saved=file.read(), hold_s=0)

    def decide(journal: Journal, rows: int) -> int:
        """Decide about the rows from there, as the source gives them again."""
        for index in range(rows, rows + BLOCK):
            journal.take(Event(kind="decision", index=index, time=float(index)))
        journal.settled(rows + BLOCK, False, dict)
        return rows + BLOCK

    tracer = SignalAtLine(signal_at)
    with events_file(path, **how) as sink:
        journal = begin(sink)
        rows = decide(journal, 0)
        if renamed:
            path.rename(other)
            sink.reopen()
        try:
            with tracer:
                decide(journal, rows)
        except Signal:
            pass
        journal.close()
    with events_file(path, **how) as sink:
        journal = begin(sink)
        saved = file.read()
        assert saved is not None
        assert not saved["unsent"], "what was decided before an orderly end waits for the next start"
        decide(journal, saved["rows"])
        journal.close()
    rotated = sorted(folder.glob("events.jsonl.*"), key=lambda name: -int(name.suffix[1:]))
    assert bool(rotated) == (rotate_bytes is not None)
    files = [*([other] if renamed else []), *rotated, path]
    events = [json.loads(line) for name in files for line in name.read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(saved["rows"] + BLOCK))
    assert [event["index"] for event in events] == list(range(saved["rows"] + BLOCK))
    return tracer.lines


# A file that is being opened as the signal comes is closed by the end of the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("rotate_bytes", "renamed"), [(None, False), (400, False), (None, True)], ids=["one file", "rotated", "reopened"]
)
def test_a_signal_at_any_line_neither_loses_nor_repeats_an_event(
    tmp_path: Path, rotate_bytes: int | None, renamed: bool
) -> None:
    (tmp_path / "0").mkdir()
    lines = run(tmp_path / "0", 0, rotate_bytes, renamed)
    assert lines > 50
    for at in range(1, lines + 1):
        (tmp_path / str(at)).mkdir()
        try:
            run(tmp_path / str(at), at, rotate_bytes, renamed)
        except (AssertionError, ValueError) as error:
            pytest.fail(f"signal at line {at} of {lines}: {error}")
