"""``bench``: sessions, cold starts, interleaved rounds and scores of one bundle to one report."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae_edge.evaluation.metrics import check_labels
from vae_edge_runtime import VAE, Bundle, load
from vae_edge_runtime.text import counted

from . import power
from .environment import Environment, Machine, ThisMachine, environment, load_average
from .fresh import ColdStart, Start, cold_starts
from .measure import interleaved, latency, ratio
from .plan import Plan, Task, cells_of, first_cells
from .report import REFERENCE, BenchReport, Cell, CellFigures, Energy, VariantFigures, warnings_of
from .rows import Rows, golden_rows
from .scores import Pair, variant_figures

Progress = Callable[[str], object]
_FEW_ROWS = 100


def bench(
    path: Path,
    plan: Plan,
    rows: Rows | None = None,
    *,
    machine: Machine | None = None,
    progress: Progress = lambda label: None,
) -> BenchReport:
    """Measure a bundle on this device.

    Args:
        path: the bundle.
        plan: what to measure.
        rows: what to score; None for the golden rows of the bundle.
        machine: where the environment is read; None for this one.
        progress: called after each step with its name; ``steps`` says how many there are.

    Raises:
        BundleError, ProviderUnavailable, MissingDependency, BackendError: as ``load`` and its session.
        OptionError: the bundle has no such variant, or cannot do the task.
        InputError: the rows do not fit the model, or hold one kind of label only.
    """
    load_before = load_average()
    with Bundle.open(path) as bundle:
        cells = cells_of(plan, bundle.manifest)
    sampler = power.find_sampler()
    with ExitStack() as stack:
        sessions = _sessions(path, cells, plan, stack)
        first = sessions[cells[0]]
        used = golden_rows(first) if rows is None else rows
        if used.labels is not None:
            check_labels(used.labels, len(used))
        calls = [task_call(sessions[cell], plan.task, cell.batch, used) for cell in cells]
        before = environment(
            machine or ThisMachine(),
            engine=f"{first.info.backend} {first.info.engine_version}",
            providers={vae.info.device: vae.info.provider for vae in sessions.values()},
            load=load_before,
        )
        cold = _cold(path, cells, plan, used, progress)
        times = interleaved(
            calls, plan.pace, clock=time.perf_counter, sleep=time.sleep, progress=lambda: progress("timing")
        )
        energies = [None if sampler is None else _energy(c, call, sampler, progress) for c, call in
                    zip(cells, calls, strict=True)]  # fmt: skip
        chosen = {cell: sessions[cell] for cell in first_cells(cells).values()}
        variants = variant_figures(path, chosen, cold, used, progress, plan.isolation)
    figures = tuple(_figures(cells, times, energies))
    return BenchReport(
        bundle=str(path),
        bundle_id=bundle.bundle_id,
        size_bytes=bundle.size_bytes,
        task=plan.task,
        rows_source=used.source,
        rows=len(used),
        rounds=len(times[0]),
        calls_per_turn=plan.pace.calls_per_turn,
        gap_seconds=plan.pace.gap_seconds,
        environment=before,
        cells=figures,
        variants=variants,
        warnings=warnings_of(before, figures, _notes(used, variants, energies, before)),
    )


def steps(path: Path, plan: Plan) -> int | None:
    """How often ``bench`` calls ``progress``; None where the time decides.

    Raises:
        BundleError: the file is refused. OptionError: it has no such variant.
    """
    if plan.pace.rounds is None:
        return None
    with Bundle.open(path) as bundle:
        cells = cells_of(plan, bundle.manifest)
    pairs = len(first_cells(cells))
    cold = pairs * (plan.processes + 1) if plan.processes else 0
    return cold + len(cells) * plan.pace.rounds + pairs + (len(cells) if power.find_sampler() else 0)


def _sessions(path: Path, cells: Sequence[Cell], plan: Plan, stack: ExitStack) -> dict[Cell, VAE]:
    """One session per variant, device and number of threads, which batches share, for each cell."""
    opened: dict[tuple[str, str, int | None], VAE] = {}
    for cell in cells:
        key = cell.variant, cell.device, cell.threads
        if key not in opened:
            vae = load(path, variant=cell.variant, device=cell.device, threads=cell.threads, **plan.isolation)
            opened[key] = stack.enter_context(vae)
    return {cell: opened[cell.variant, cell.device, cell.threads] for cell in cells}


def task_call(vae: VAE, task: Task, batch: int, rows: Rows) -> Callable[[], object]:
    """A call of the task, each time with the next batch.

    The first one is run here, so that what cannot work fails before anything is measured.
    """
    turns: Iterator[Rows] = itertools.cycle(rows.batches(batch))
    seeds = itertools.count()

    def score() -> object:
        part = next(turns)
        return vae.score(part.x, condition=part.condition)

    def encode() -> object:
        part = next(turns)
        return vae.encode(part.x, condition=part.condition)

    def sample() -> object:
        return vae.sample(batch, seed=next(seeds), condition=next(turns).condition)

    calls: dict[Task, Callable[[], object]] = {"score": score, "encode": encode, "sample": sample}
    calls[task]()
    return calls[task]


def _cold(path: Path, cells: Sequence[Cell], plan: Plan, rows: Rows, progress: Progress) -> dict[Pair, ColdStart]:
    if not plan.processes:
        return {}
    one = rows.take(np.array([0]))
    starts = {pair: Start(cell.variant, cell.device, cell.threads) for pair, cell in first_cells(cells).items()}
    figures = cold_starts(
        path,
        list(starts.values()),
        one.x,
        one.condition,
        processes=plan.processes,
        isolation=plan.isolation,
        progress=lambda: progress("cold starts"),
    )
    return {pair: figures[start] for pair, start in starts.items()}


def _energy(cell: Cell, call: Callable[[], object], sampler: power.Sampler, progress: Progress) -> Energy | None:
    measured = power.energy(call, cell.batch, sampler, power.watts, clock=time.perf_counter)
    progress("power")
    return measured


def _figures(
    cells: Sequence[Cell], times: Sequence[NDArray[np.float64]], energies: Sequence[Energy | None]
) -> Iterator[CellFigures]:
    by_cell = dict(zip(cells, times, strict=True))
    for cell, seconds, used in zip(cells, times, energies, strict=True):
        reference = by_cell.get(Cell(REFERENCE, cell.device, cell.batch, cell.threads))
        compared = None if reference is None or cell.variant == REFERENCE else ratio(seconds, reference)
        yield CellFigures(cell, latency(seconds), cell.batch / float(seconds.mean()), compared, used)


def _notes(
    rows: Rows, variants: Sequence[VariantFigures], energies: Sequence[Energy | None], env: Environment
) -> tuple[str, ...]:
    notes = []
    if rows.kind == "golden":
        notes.append(f"no rows were given: the {rows.source}, tiled; agreement and decisions mean little on so few")
    elif any(v.agreement for v in variants) and len(rows) < _FEW_ROWS:
        notes.append(f"agreement is of {counted(len(rows), 'row')}: one decision that differs is {1 / len(rows):.1%}")
    notes += [f"{v.variant} on {v.device} is degraded: {v.degraded_reason}" for v in variants if v.degraded_reason]
    if env.jetson is not None and not any(energies):
        notes.append("no power: tegrastats is not on PATH, or gave no readings")
    return tuple(notes)
