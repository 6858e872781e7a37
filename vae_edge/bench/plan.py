"""What ``bench`` measures: every variant on every device, at every batch and number of threads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.manifest import Manifest

from .measure import Pace
from .report import REFERENCE, Cell

Task = Literal["score", "encode", "sample"]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        variants: of the bundle; empty for all of them. devices, batches, threads: of each; None is the
            engine's own choice of threads.
        task: what one call does. pace: how long. processes: fresh ones per variant and device; 0 for none.
    """

    variants: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    batches: tuple[int, ...] = (1, 32)
    threads: tuple[int | None, ...] = (1, None)
    task: Task = "score"
    pace: Pace = field(default_factory=Pace)
    processes: int = 3

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise OptionError(f"task is {self.task!r}; valid are {', '.join(get_args(Task))}")
        for name, values in (("devices", self.devices), ("batches", self.batches), ("threads", self.threads)):
            if not values or len(set(values)) != len(values):
                raise OptionError(f"{name} are missing or repeated: {', '.join(map(str, values)) or 'none'}")
        if min(self.batches) < 1 or any(t is not None and t < 1 for t in self.threads):
            raise OptionError("batches and threads are whole numbers from 1 (threads: or auto)")


def cells_of(plan: Plan, manifest: Manifest) -> list[Cell]:
    """The product of everything, the reference first.

    Raises:
        OptionError: the bundle has no such variant.
    """
    have = sorted(manifest.variants, key=lambda name: (name != REFERENCE, name))
    if unknown := set(plan.variants) - set(have):
        raise OptionError(f"variant is {min(unknown)!r}; this bundle has {', '.join(have)}")
    variants = dict.fromkeys(plan.variants) if plan.variants else have
    product = itertools.product(variants, plan.devices, plan.threads, plan.batches)
    return [Cell(variant, device, batch, threads) for variant, device, threads, batch in product]


def first_cells(cells: Sequence[Cell]) -> dict[tuple[str, str], Cell]:
    """The first cell of each variant and device."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        found.setdefault((cell.variant, cell.device), cell)
    return found
