"""Rows in, events out: windows, guard, scores, alarm and drift over a source without end, in constant memory."""

from __future__ import annotations

import math
import time as clocks
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import InputError, VaeEdgeError
from ..format.manifest import Calibration, Manifest
from ..format.stream_rules import StreamSpec
from ..record import one_line
from ..scoring.anatomy import element_shares, top_shares
from ..scoring.inputs import Status
from ..scoring.results import Scores
from ..text import counted
from . import state as plain_state
from .alarm import Alarm
from .drift import Drift
from .events import Event, EventStatus
from .guard import Fault, Flags, Guard, fault_names
from .impute import MOST_MISSING, impute
from .options import StreamOptions
from .pump import Pump
from .rows import Rows, as_rows, joined
from .windows import Cut, Windows

_DRIFT_HEAD = "mahalanobis"
_QUEUE_BYTES = 256 << 20
"""Of pictures of a bundle of tiles that wait in the queue of a live source: 1,024 frames of 1080p would be 6 GB."""
_END = object()


@runtime_checkable
class Scoring(Protocol):
    """What a stream needs of a session."""

    manifest: Manifest

    @property
    def heads(self) -> tuple[str, ...]:
        """Names, the default one first."""
        ...

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """By head."""
        ...

    def score(self, x: NDArray[Any], *, heads: Sequence[str] = (), maps: bool = False) -> Scores:
        """As ``VAE.score``."""
        ...

    def reconstruct(self, x: NDArray[Any]) -> NDArray[Any]:
        """As ``VAE.reconstruct``."""
        ...


class Stream:
    """Events of a source, one after the other; ``VAE.stream`` makes it. Not for several threads.

    Attributes:
        counters: rows, decisions, anomalies, alarms, faults (decisions without a score), drifts, dropped
            and late rows, imputed cells, so far.
        on_settled: called where all events about what was read have been given, before the source is read again;
            only then ``state`` and the place in the source belong together. Its argument says that nothing follows.
        on_rows: called with every row that is taken, once and in their order.
        warning: the first of ``Scores.warning``, or None.
    """

    def __init__(
        self,
        vae: Scoring,
        source: Iterable[Any],
        options: StreamOptions,
        *,
        stride: int,
        heads: tuple[str, ...],
        rules: StreamSpec,
    ) -> None:
        self._vae, self._spec, self._source = vae, vae.manifest.input, source
        self._options, self._heads = options, heads
        self._clock = options.clock or clocks.monotonic
        self._seconds_per_row = math.inf
        poll_s = min(0.2, (options.stale_s or 1.0) / 4)
        queue_bytes = None if self._spec.overlap is None else _QUEUE_BYTES
        self._pump = Pump(source, options.queue_rows, poll_s=poll_s, most_bytes=queue_bytes) if options.live else None
        self._items = iter(self._pump if self._pump is not None else source)
        self._guard, self._alarm = Guard(rules.guard, self._spec), Alarm(rules.alarm)
        self._windows, self._stride = Windows(self._spec, stride), stride
        self.on_settled: Callable[[bool], None] | None = None
        self.on_rows: Callable[[Rows], None] | None = None
        self.warning: str | None = None
        self._lost = ""
        self._middle = (np.array(rules.guard.low) + np.array(rules.guard.high)) / 2
        self._drift = self._drift_tests(stride) if options.drift else None
        self.counters = dict.fromkeys(
            ("rows", "decisions", "anomalies", "alarms", "faults", "drifts", "dropped", "late", "imputed"), 0
        )
        self._events = self._run()

    def _drift_tests(self, stride: int) -> Drift | None:
        calibrations = self._vae.calibrations
        watched = {h: calibrations[h] for h in (self._vae.heads[0], _DRIFT_HEAD) if h in calibrations}
        if not watched:
            return None
        # Calibration rows are taken for windows one after the other, without overlap.
        length = self._spec.shape[0] if self._spec.layout == "time_features" else 1
        correlated = max(calibration.correlation_rows for calibration in watched.values())
        every = max(1, math.ceil(length / stride * correlated - 1e-9))
        return Drift({head: calibration.n for head, calibration in watched.items()}, every)

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: pickle the session, and call its stream() there")

    def __repr__(self) -> str:
        one = {name: "anomaly" if name == "anomalies" else name.removesuffix("s") for name in self.counters}
        said = ", ".join(counted(count, one[name], name) for name, count in self.counters.items() if count)
        return one_line(f"<Stream {', '.join(self._heads) or self._vae.heads[0]}: {said or 'no rows yet'}>")

    def close(self) -> None:
        """Stop reading the source, and close it where it can be closed; twice is no error."""
        self._events.close()
        if self._pump is not None:
            self._pump.close()
        elif hasattr(self._source, "close"):
            self._source.close()

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs to go on from here: plain values for JSON, among them the rows of a window.

        Call it from ``on_settled``: in between, rows are read already whose events are still to come.
        """
        return {
            "version": plain_state.VERSION,
            **self._identity(),
            "counters": dict(self.counters),
            "guard": self._guard.state(),
            "windows": self._windows.state(),
            "alarm": self._alarm.state(),
            "drift": None if self._drift is None else self._drift.state(),
        }

    def restore(
        self, state: Mapping[str, Any], *, same_model: bool = True, same_clock: bool = True, lost: str = ""
    ) -> None:
        """Go on where another process stopped; before the first event is asked for.

        Args:
            state: of ``state``. The source must go on with the row that follows.
            same_model: False: scores are not comparable. An alarm that is on stays on; drift tests begin anew.
            same_clock: False: times of the source began anew since.
            lost: in words, which rows between are missing: the first event says so, and no window joins over it.

        Raises:
            InputError: it is no state, or that of rows or windows of another kind.
            OptionError: another argument is none.

        Example:
            >>> stream = vae.stream(rows)
            >>> stream.restore(json.loads(saved))
            >>> next(iter(stream)).index
            1029
        """
        arguments.flag("same_model", same_model)
        arguments.flag("same_clock", same_clock)
        arguments.text("lost", lost)
        try:
            if state["version"] != plain_state.VERSION:
                raise ValueError(f"it has version {state['version']!r:.20}, this runtime reads {plain_state.VERSION}")
            for name, value in self._identity().items():
                if state[name] != value:
                    raise ValueError(f"its {name} is {state[name]!r:.200}, here it is {value!r:.200}")
            self._guard.restore(state["guard"], same_clock=same_clock)
            self._windows.restore(state["windows"])
            self._alarm.restore(state["alarm"], same_model=same_model)
            if self._drift is not None and state["drift"] is not None and same_model:
                self._drift.restore(state["drift"])
            self.counters |= {name: int(state["counters"][name]) for name in self.counters}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise InputError(f"the state of a stream cannot be taken up: {error}") from error
        self._lost = lost

    def _identity(self) -> dict[str, Any]:
        spec = self._spec
        return {
            "shape": list(spec.shape),
            "dtype": spec.dtype,
            "layout": spec.layout,
            "names": list(spec.names),
            "stride": self._stride,
        }

    def _next_item(self) -> Any:
        """Of the source, once everything before it is settled; ``_END`` behind the last."""
        if self.on_settled is None:
            return next(self._items, _END)
        self.on_settled(False)
        try:
            item = next(self._items, _END)
        except VaeEdgeError:
            self.on_settled(True)
            raise
        if item is _END:
            self.on_settled(True)
        return item

    def _run(self) -> Generator[Event, None, None]:
        heard, silent, lost = self._clock(), False, bool(self._lost)
        if lost:
            index, when = self.counters["rows"] - 1, self._windows.last_time
            yield Event(kind="lost", index=index, time=when, figures={"what": self._lost})
        dropped = self.counters["dropped"]
        while (item := self._next_item()) is not _END:
            now = self._clock()
            rows = None if item is None else as_rows(item, self._spec, self.counters["rows"])
            if not rows:  # a block without rows says what None says
                if self._options.stale_s is not None and not silent and now - heard >= self._options.stale_s:
                    silent = True
                    yield self._stale(now - heard)
                continue
            heard, silent = now, False
            after_loss = lost or (self._pump is not None and self._pump.after_loss)
            lost = False
            if self._pump is not None:
                rows = self._with_waiting(rows, self._pump)
            flags, steps = self._guard.check(rows), self._guard.steps
            joins = self.counters["rows"] > 0 and self._spec.layout == "time_features"
            if joins and after_loss:
                flags[0] |= np.uint8(Fault.GAP)  # no window joins what came before rows that were dropped
                steps[0] = True
            self.counters["rows"] += len(rows)
            if self.on_rows is not None:
                self.on_rows(rows)
            self.counters["late"] = self._guard.late
            self.counters["dropped"] = dropped + (self._pump.dropped if self._pump is not None else 0)
            for cut in self._windows.cut(rows, flags, steps, self._options.batch):
                yield from self._decide(cut, len(rows))

    def _with_waiting(self, rows: Rows, pump: Pump) -> Rows:
        """Rows, and those that wait behind them already, as far as scoring all is expected to keep ``together_s``."""
        blocks, count = [rows], len(rows)
        most = min(self._options.batch, self._options.together_s / self._seconds_per_row)
        while count < most and (item := pump.first_waiting()) is not None:
            try:
                more = as_rows(item, self._spec, self.counters["rows"] + count)
            except InputError:  # raised in its turn, after the decisions about the rows before it
                break
            alike = (more.time is None, not more.labels) == (rows.time is None, not rows.labels)
            alike &= more.values.shape[1:] == rows.values.shape[1:]  # pictures of a bundle of tiles may differ
            if not alike or count + len(more) > most or not pump.take(item):
                break
            blocks.append(more)
            count += len(more)
        return joined(blocks)

    def _stale(self, silence_s: float) -> Event:
        return Event(
            kind="stale",
            index=self.counters["rows"] - 1,
            time=self._windows.last_time,
            dropped=self.counters["dropped"],
            figures={
                "faults": fault_names(Fault.STALE),
                "silence_s": round(silence_s, 3),
                "limit_s": self._options.stale_s,
            },
        )

    def _decide(self, cut: Cut, rows: int) -> Iterator[Event]:
        """One decision per window, and what drift they show; ``rows`` is how many of the stream came together."""
        x, flags, imputed = cut.windows, cut.flags, np.zeros(len(cut), dtype=np.int64)
        if self._options.impute == "auto" and cut.missing is not None:
            x, flags, imputed = self._imputed(cut)
        valid = np.flatnonzero(~flags.any(1))
        heads = tuple(dict.fromkeys((*self._heads, *(self._drift.heads[1:] if self._drift else ()))))
        begin = clocks.perf_counter()
        good = x if len(valid) == len(cut) else x[valid]  # a large picture is not copied
        scores = self._vae.score(np.ascontiguousarray(good), heads=heads, maps=self._options.maps == "all")
        self.warning = self.warning or scores.warning
        if len(valid):
            self._seconds_per_row = max((clocks.perf_counter() - begin) / rows, 1e-9)
        place = {int(window): i for i, window in enumerate(valid)}
        maps = self._maps_of_anomalies(good, scores)
        for window in range(len(cut)):
            i = place.get(window)
            self.counters["decisions"] += 1
            self.counters["imputed"] += int(imputed[window])
            yield self._event(cut, window, x[window], flags[window], int(imputed[window]), scores, i, maps)
            if self._drift is not None and i is not None and scores.status[i] == Status.OK:
                for figures in self._drift.update({h: float(scores.heads[h].p_value[i]) for h in self._drift.heads}):
                    self.counters["drifts"] += 1
                    yield Event("drift", cut.index(window), cut.time(window), figures=figures)

    def _maps_of_anomalies(self, x: NDArray[Any], scores: Scores) -> dict[int, NDArray[np.float32]]:
        """Maps by position in ``scores``: of all rows, or of the anomalies, which are few."""
        if self._options.maps == "all":
            return dict(enumerate(scores.map))
        wanted = np.flatnonzero(scores.is_anomaly) if scores.threshold is not None else ()
        if not (self._options.top or self._options.maps == "anomalies") or not len(wanted):
            return {}
        maps = self._vae.score(np.ascontiguousarray(x[wanted]), maps=True).map
        return dict(zip(map(int, wanted), maps, strict=True))

    def _event(
        self, cut: Cut, window: int, x: NDArray[Any], flags: Flags, imputed: int, scores: Scores, i: int | None,
        maps: dict[int, NDArray[np.float32]],
    ) -> Event:  # fmt: skip
        common: dict[str, Any] = {"kind": "decision", "index": cut.index(window), "time": cut.time(window)}
        common |= {"dropped": self.counters["dropped"], "imputed": imputed}
        if i is None or scores.status[i] != Status.OK:
            self.counters["faults"] += 1
            return Event(
                **common,
                status=_no_score(None if i is None else int(scores.status[i])),
                faults=fault_names(int(np.bitwise_or.reduce(flags))),
                fault_features=tuple(self._feature(int(f)) for f in np.flatnonzero(flags)),
                alarm=self._alarm.step(None, None),
            )
        decided = bool(scores.is_anomaly[i]) if scores.threshold is not None else None
        p_value = float(scores.p_value[i]) if scores.heads[self._vae.heads[0]].calibrated else None
        alarm = self._alarm.step(decided, p_value)
        self.counters["anomalies"] += decided is True
        self.counters["alarms"] += alarm == "raised"
        own_map = maps.get(i)
        top: tuple[tuple[str, float], ...] = ()
        if own_map is not None and decided and self._options.top:
            shares = element_shares(own_map[None], self._spec)[0][0]
            top = top_shares(shares, self._spec.names, self._options.top)
        heads = {
            head: (float(s.score[i]), float(s.p_value[i]) if s.calibrated else None)
            for head, s in scores.heads.items()
            if head in self._heads
        }
        return Event(
            **common,
            score=float(scores.score[i]),
            p_value=p_value,
            is_anomaly=decided,
            alarm=alarm,
            top=top,
            heads=heads,
            map=own_map if self._options.maps != "off" else None,
            row=x if own_map is not None and self._options.maps != "off" else None,
        )

    def _feature(self, index: int) -> str:
        return self._spec.names[index] if index < len(self._spec.names) else str(index)

    def _imputed(self, cut: Cut) -> tuple[NDArray[Any], Flags, NDArray[np.int64]]:
        """Windows whose only fault is a few missing cells, filled in; cells filled in per window."""
        assert cut.missing is not None  # the caller has looked
        cells = cut.missing.reshape(len(cut), -1)
        # Only cells that the source left empty: a step in time is no cell, and another fault no gap.
        only_cells = np.all((cut.flags == 0) | ((cut.flags == Fault.GAP) & cut.missing.any(1)), axis=1) & ~cut.late
        fillable = only_cells & cells.any(1) & (cells.mean(1) <= MOST_MISSING)
        which = np.flatnonzero(fillable)
        if not len(which):
            return cut.windows, cut.flags, np.zeros(len(cut), dtype=np.int64)
        x, flags = np.array(cut.windows), cut.flags.copy()
        x[which] = impute(x[which], cut.missing[which], self._middle, self._vae.reconstruct)
        flags[which] = 0
        return x, flags, np.where(fillable, cells.sum(1), 0)


def _no_score(status: int | None) -> EventStatus:
    """Why a window has no score; ``status`` of its row, None where the guard kept it back."""
    if status is None:
        return "invalid_input"
    return "unknown_code" if status == Status.UNKNOWN_CODE else "non_finite_output"
