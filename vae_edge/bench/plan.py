"""What ``bench`` measures: every variant on every device, at every batch and number of threads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vae_edge_runtime.device.devices import takes
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.manifest import Manifest

from .measure import Pace
from .report import REFERENCE, Cell

_DEFAULT_THREADS = (1, None)
Task = Literal["score", "encode", "sample"]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        variants: of the bundle; empty for all of them. devices, batches: of each.
        threads: of one run, on the devices that take a number; None is the engine's own choice, and empty is one
            thread and that choice.
        task: what one call does. pace: how long. processes: fresh ones per variant and device; 0 for none.
        isolation: ``isolate``, ``deadline_s`` and ``memory_bytes`` of ``load``, where the engine has its own process.
    """

    variants: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    batches: tuple[int, ...] = (1, 32)
    threads: tuple[int | None, ...] = ()
    task: Task = "score"
    pace: Pace = field(default_factory=Pace)
    processes: int = 3
    isolation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise OptionError(f"task is {self.task!r}; valid are {', '.join(get_args(Task))}")
        threads = self.threads or _DEFAULT_THREADS
        for name, values in (("devices", self.devices), ("batches", self.batches), ("threads", threads)):
            if not values or len(set(values)) != len(values):
                raise OptionError(f"{name} are missing or repeated: {', '.join(map(str, values)) or 'none'}")
        if min(self.batches) < 1 or any(t is not None and t < 1 for t in threads):
            raise OptionError("batches and threads are whole numbers from 1 (threads: or auto)")
        if any(self.threads) and not any(takes(device, "threads") for device in self.devices):
            raise OptionError(f"none of the devices {', '.join(self.devices)} takes a number of threads: leave it out")


def cells_of(plan: Plan, manifest: Manifest) -> list[Cell]:
    """The product of everything, the reference first.

    Raises:
        OptionError: the bundle has no such variant, or a device is not in the table.
    """
    have = sorted(manifest.variants, key=lambda name: (name != REFERENCE, name))
    if unknown := set(plan.variants) - set(have):
        raise OptionError(f"variant is {min(unknown)!r}; this bundle has {', '.join(have)}")
    variants = dict.fromkeys(plan.variants) if plan.variants else have
    return [
        Cell(variant, device, batch, threads)
        for variant, device in itertools.product(variants, plan.devices)
        for threads, batch in itertools.product(_threads(plan, device), plan.batches)
    ]


def _threads(plan: Plan, device: str) -> tuple[int | None, ...]:
    """Counts for a device: the engine's own choice alone where the device takes no number of threads."""
    return (plan.threads or _DEFAULT_THREADS) if takes(device, "threads") else (None,)


def first_cells(cells: Sequence[Cell]) -> dict[tuple[str, str], Cell]:
    """The first cell of each variant and device."""
    first_cells: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first_cells.setdefault((cell.variant, cell.device), cell)
    return first_cells
