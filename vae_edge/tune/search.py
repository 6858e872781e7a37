"""``tune``: every candidate that this device offers, timed in interleaved rounds, and a choice kept for ``load``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge.bench.measure import Latency, Pace, Ratio, interleaved
from vae_edge.bench.report import threads_text
from vae_edge.bench.rows import Rows, golden_rows
from vae_edge.bench.run import task_call
from vae_edge_runtime import VAE, Bundle, load
from vae_edge_runtime.device.devices import devices as all_devices
from vae_edge_runtime.device.devices import find_device
from vae_edge_runtime.device.tuned import FORMAT, Choice, store_choice, this_machine
from vae_edge_runtime.errors import BackendError, GateFailed, MissingDependency, OptionError, ProviderUnavailable
from vae_edge_runtime.text import counted

from .choice import Limits, Timed, advantage, choose, halves, refusal, reported

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Candidate:
    """One way to run the bundle.

    Attributes:
        latency: of the rounds that did not choose. rows_per_s: batch over its median.
        against_default: time per row over that of ``load``'s own default, same rounds.
        flips: decisions that differ from fp32's on the CPU. refused: why it could not win; None where it could.
    """

    variant: str
    device: str
    threads: int | None
    spin: bool | None
    batch: int
    latency: Latency
    rows_per_s: float
    against_default: Ratio
    flips: int | None
    refused: str | None

    def __str__(self) -> str:
        quiet = ", not spinning" if self.spin is False else ""
        return f"{self.variant} on {self.device}, {threads_text(self.threads)}{quiet}, batch {self.batch}"


@dataclass(frozen=True)
class TuneReport:
    """All candidates, and which one was kept.

    Attributes:
        absent: devices that are not to be had here, and why. notes: what to know before the choice is believed.
        choice: what ``load`` will take. path: where it was written; None where it was not.
    """

    bundle: str
    rows_source: str
    rows: int
    rounds: int
    candidates: tuple[Candidate, ...]
    winner: int
    choice: Choice
    path: str | None
    absent: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def tune(
    path: Path,
    rows: Rows | None = None,
    *,
    limits: Limits | None = None,
    variants: Sequence[str] = (),
    devices: Sequence[str] = (),
    threads: Sequence[int | None] = (),
    batches: Sequence[int] = (1,),
    rounds: int = 36,
    keep: bool = True,
    folder: Path | None = None,
    progress: Progress = lambda label: None,
) -> TuneReport:
    """Measure and keep the fastest way to score on this device.

    Args:
        path: the bundle.
        rows: to score, normal ones and anomalies as they come; None: the bundle's golden rows, and then only
            fp32 in float32 competes, because a few rows say nothing about decisions.
        limits: on the p99 of a call and on decisions that differ from fp32's.
        variants, devices, threads: that compete; empty: all of the bundle, all to be had, 1 and all cores.
            Threads, and whether they spin, vary on the devices whose row in the table says so. Several threads of
            ONNX Runtime on the CPU compete twice: spinning while they wait, as is its habit, and not spinning.
        batches: rows of a call; the one with most rows per second wins.
        rounds: half of them choose, half report; at least 12, so that each half has an interval.
        keep: write the choice for ``load``. folder: of choices; None: the user's cache.
        progress: called after each turn with what it was.

    Raises:
        GateFailed: no candidate keeps the limits.
        OptionError: an option is not valid, or the bundle has no such variant.
        BundleError, BackendError, InputError: as ``load`` and its session.
    """
    limits = limits or Limits()
    if rounds < 12:
        raise OptionError(f"rounds is {rounds}; at least 12, half of them to choose and half to report")
    known = all_devices()
    # Without rows no decision is compared, so only what computes as the bundle's proofs were made competes.
    devices = devices or [row.name for row in known if row.exact or rows is not None]
    if unknown := set(devices) - {row.name for row in known}:
        raise OptionError(f"device is {min(unknown)!r}; valid are {', '.join(row.name for row in known)}")
    if any(threads) and not any("threads" in find_device(name).tuned for name in devices):
        raise OptionError(f"none of the devices {', '.join(devices)} is tuned by a number of threads: leave it out")
    with Bundle.open(path) as bundle, ExitStack() as stack:
        manifest, bundle_id = bundle.manifest, bundle.bundle_id
        reference = bundle.choose_variant("auto")
        names = [reference] if rows is None else sorted(manifest.variants, key=lambda name: (name != reference, name))
        chosen = [bundle.choose_variant(name) for name in variants] or names
        cores = this_machine()[1]
        counts = tuple(threads) or tuple(dict.fromkeys((1, cores)))
        default = stack.enter_context(load(path, variant=reference, device="cpu", threads=None))
        used = golden_rows(default) if rows is None else rows
        sessions, absent = _sessions(path, chosen, devices, counts, stack)
        flips = _flips(default, sessions, used)
        keys = [(key, batch) for key in sessions for batch in batches]
        calls = [task_call(vae, "score", batch, used) for vae, batch in
                 ((default, batches[0]), *((sessions[key], batch) for key, batch in keys))]  # fmt: skip
        times = interleaved(
            calls, Pace(rounds=rounds), clock=time.perf_counter, sleep=time.sleep, progress=lambda: progress("timing")
        )
    timed = [Timed(s, batch, flips[key], len(used)) for s, (key, batch) in zip(times[1:], keys, strict=True)]
    plain = Timed(times[0], batches[0], None, len(used))
    candidates = tuple(_candidate(key, t, plain, limits) for (key, _), t in zip(keys, timed, strict=True))
    winner = choose(timed, limits)
    if winner is None:
        worst = "; ".join(f"{c}: {c.refused}" for c in candidates)
        raise GateFailed(f"no candidate keeps the limits, and nothing was kept: {worst}"[:900])
    best = candidates[winner]
    why = _why(best, len(used))
    choice = Choice(FORMAT, bundle_id, best.variant, best.device, best.threads, best.spin, *this_machine(), why)
    stored = store_choice(choice, folder) if keep else None
    return TuneReport(
        bundle=str(path),
        rows_source=used.source,
        rows=len(used),
        rounds=rounds,
        candidates=candidates,
        winner=winner,
        choice=choice,
        path=stored,
        absent=absent,
        notes=_notes(used, tuple(manifest.variants), chosen, best),
    )


Key = tuple[str, str, int | None, bool | None]
"""Variant, device, threads, spin."""


def _sessions(
    path: Path, variants: Sequence[str], devices: Sequence[str], threads: Sequence[int | None], stack: ExitStack
) -> tuple[dict[Key, VAE], dict[str, str]]:
    """A session per candidate that can be opened, and why a device or variant has none."""
    sessions: dict[Key, VAE] = {}
    absent: dict[str, str] = {}
    for device, variant in itertools.product(devices, variants):
        if device in absent:
            continue
        for count, spin in _ways(device, threads):
            try:
                sessions[variant, device, count, spin] = stack.enter_context(
                    load(path, variant=variant, device=device, threads=count, spin=spin)
                )
            except (ProviderUnavailable, MissingDependency) as error:
                absent[device] = str(error)
                break
            except BackendError as error:  # int8-cpu on TensorRT
                absent[f"{variant} on {device}"] = str(error)
                break
    if not sessions:
        raise ProviderUnavailable("; ".join(f"{name}: {why}" for name, why in absent.items()))
    order = {name: i for i, name in enumerate(variants)}
    return dict(sorted(sessions.items(), key=lambda item: order[item[0][0]])), absent


def _ways(device: str, threads: Sequence[int | None]) -> list[tuple[int | None, bool | None]]:
    """Threads and spin of the candidates on a device."""
    tuned = find_device(device).tuned
    return [
        (count, spin)
        for count in (threads if "threads" in tuned else (None,))
        for spin in ((None, False) if "spin" in tuned and count != 1 else (None,))  # one thread waits for none
    ]


def _flips(default: VAE, sessions: dict[Key, VAE], rows: Rows) -> dict[Key, int]:
    """Decisions that differ from those of fp32 on the CPU; rows that only one of the two scores count."""
    before = default.score(rows.x, condition=rows.condition)
    flips = {}
    for key, vae in sessions.items():
        after = vae.score(rows.x, condition=rows.condition)
        differs = after.ok != before.ok
        if before.threshold is not None and after.threshold is not None:
            differs |= after.is_anomaly != before.is_anomaly
        flips[key] = int(np.count_nonzero(differs))
    return flips


def _candidate(key: Key, timed: Timed, default: Timed, limits: Limits) -> Candidate:
    figures = reported(timed)
    return Candidate(
        *key,
        batch=timed.batch,
        latency=figures,
        rows_per_s=timed.batch / (figures.p50_ms / 1e3),
        against_default=advantage(halves(timed)[1], timed.batch, halves(default)[1], default.batch),
        flips=timed.flips,
        refused=refusal(timed, limits),
    )


def _why(best: Candidate, decided: int) -> str:
    versus = best.against_default
    span = "" if versus.low is None or versus.high is None else f" ({1 / versus.high:.2f} to {1 / versus.low:.2f})"
    times = f"{1 / versus.median:.2f}{span} times as fast as fp32 on the CPU with the engine's own threads"
    return f"{best}: p50 {best.latency.p50_ms:.3g} ms, {times}, {best.flips} of {counted(decided, 'decision')} differ"


def _notes(rows: Rows, have: Sequence[str], competed: Sequence[str], best: Candidate) -> tuple[str, ...]:
    notes = []
    if rows.kind == "golden" and len(have) > 1 and len(competed) == 1:
        others = ", ".join(name for name in sorted(have) if name not in competed)
        notes.append(f"{others} did not compete: {rows.source} say nothing about decisions; pass --rows")
    low, high = best.against_default.low, best.against_default.high
    if low is not None and high is not None and low <= 1 <= high:
        notes.append("the advantage over the default is within the noise of the rounds that report it")
    return tuple(notes)
