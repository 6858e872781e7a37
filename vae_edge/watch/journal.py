"""Events and the state they come from: first the state with its events on the disk, then the events to their reader.

So no event is seen whose state could be lost. What was in a state and did not reach its reader is given after the
restart; a file is looked at for what it holds already, the reader of a pipe gets it again with the same ``seq``.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vae_edge_runtime.errors import DataError, OptionError, StorageError
from vae_edge_runtime.stream import Event
from vae_edge_runtime.text import json_value

from .events_file import Sink
from .state_file import StateFile

HOLD_S = 0.2
"""Longest time that an event waits for others, so that all of them go to the disk at once, while rows keep coming."""
QUIET_S = 1.0
"""Longest time from one state to the next where rows come and no event does."""


def boot_id() -> str | None:
    """Which start of the machine this is; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


class Filter:
    """Which events are written: decisions (all), changes, anomalies, or alarms; other kinds than decisions always."""

    WORDS = ("decisions", "changes", "anomalies", "alarms")

    def __init__(self, only: str, faults: tuple[str, ...] = ()) -> None:
        """``faults``: of the decision before.

        Raises:
            OptionError: ``only`` is no such word.
        """
        if only not in self.WORDS:
            raise OptionError(f"only is {only!r}; valid are {', '.join(self.WORDS)}")
        self._only, self.faults = only, faults

    def __call__(self, event: Event) -> bool:
        """Whether this one is."""
        if self._only == "decisions" or event.kind != "decision":
            return True
        changed, self.faults = event.faults != self.faults, event.faults
        turned = event.alarm in ("raised", "cleared")
        if self._only == "alarms":
            return turned
        if self._only == "changes":
            return changed or turned
        return bool(event.is_anomaly) or (changed and bool(event.faults))


class Journal:
    """Numbers events, and writes them with or without a state.

    Attributes:
        origin: what every event says of where it comes from; ``stream`` and ``seq`` tell it from any other.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        bundle_id: str,
        release: int,
        only: str = "decisions",
        state_file: StateFile | None = None,
        saved: Mapping[str, Any] | None = None,
        hold_s: float = HOLD_S,
    ) -> None:
        """Begin, or go on from what ``state_file`` held: events that did not reach their reader are given now.

        Args:
            sink: where events go.
            bundle_id, release: of the model that decides.
            only: as ``Filter``.
            state_file: without it events are written at once, and numbered from 0.
            saved: what ``state_file`` holds.
            hold_s: longest time that an event waits for others; 0 where the source does not say that nothing is new.
        """
        self._sink, self._file, self._hold_s = sink, state_file, hold_s
        self._seq, stream = 0, uuid.uuid4().hex[:12]
        faults: tuple[str, ...] = ()
        unsent: list[str] = []
        if saved is not None:
            try:
                self._seq, faults = int(saved["seq"]), tuple(map(str, saved["faults"]))
                stream, unsent = str(saved["origin"]["stream"]), list(map(str, saved["unsent"]))
                done = sink.numbers_behind(saved["mark"], stream)
                unsent = [line for line in unsent if json_value(line, finite=True)["seq"] not in done]
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"the events in the state cannot be read: {error}") from error
        self.origin: dict[str, Any] = {
            "stream": stream,
            "bundle": bundle_id,
            "release": release,
            "host": platform.node(),
            "boot": boot_id(),
        }
        self._wanted = Filter(only, faults)
        self._unsent, self._sent = unsent, 0
        self._saved: dict[str, Any] | None = None if saved is None else {**saved, "unsent": list(unsent)}
        self._on_disk = self._saved
        self._written_s, self._rows = -float("inf"), 0
        self._send()

    def take(self, event: Event) -> None:
        """Number an event and write it, with a state not before that.

        Raises:
            StorageError: it could not be written, or nobody reads any more.
        """
        if not self._wanted(event):
            return
        line = json.dumps({**event.to_dict(), "seq": self._seq, **self.origin}, allow_nan=False) + "\n"
        self._seq += 1
        if self._file is None:
            self._sink.append(line)
        else:
            self._unsent.append(line)

    def settled(self, rows: int, last: bool, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state, then the events, where it is time.

        Args:
            rows: taken so far; as before: nothing is new.
            last: nothing follows.
            state: gives what to write beside the events.

        Raises:
            StorageError: as ``take``.
        """
        if self._file is None:
            return
        idle, self._rows = rows == self._rows, rows
        since_s = time.monotonic() - self._written_s
        waiting = len(self._unsent) > self._sent
        due = waiting and (idle or since_s >= self._hold_s)
        behind = self._saved is None or self._saved.get("rows") != rows
        if not (last or due or (behind and since_s >= QUIET_S)):
            return
        mark = self._sink.mark()  # events of the state before are on the disk now, and need no place in the next
        unsent = self._unsent[self._sent :]
        snapshot = {
            **state(),
            "rows": rows,
            "seq": self._seq,
            "faults": list(self._wanted.faults),
            "origin": self.origin,
            "mark": mark,
            "unsent": list(unsent),
        }
        # In one go: a signal may end this process between any two lines, and ``close`` goes on from what it sees.
        self._saved, self._unsent, self._sent = snapshot, unsent, 0
        self._write()
        self._written_s = time.monotonic()
        self._send()

    def close(self) -> None:
        """Give what the last state says to whoever reads, and take it out of the state; rows since then are not in it.

        A signal may have come between any two lines, so a file is looked at for what it holds. A pipe cannot be.
        """
        if self._file is None or self._saved is None:
            return
        with contextlib.suppress(StorageError):  # then the state on the disk holds them still
            if self._on_disk is not self._saved:
                self._write()
            if not (unsent := self._saved["unsent"]):
                return
            mark = self._saved["mark"]
            left = unsent[self._sent :] if mark is None else []
            if mark is not None:
                done = self._sink.numbers_behind(mark, str(self.origin["stream"]))
                for line in unsent:
                    if json_value(line, finite=True)["seq"] not in done:
                        self._sink.append(line)
            self._saved = {**self._saved, "mark": self._sink.mark(), "unsent": left}
            self._unsent, self._sent = list(left), 0
            self._write()

    def _send(self) -> None:
        while self._sent < len(self._unsent):
            self._sink.append(self._unsent[self._sent])
            self._sent += 1

    def _write(self) -> None:
        assert self._file is not None
        assert self._saved is not None
        self._file.write(self._saved)
        self._on_disk = self._saved
