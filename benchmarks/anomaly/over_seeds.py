"""Mean and spread over seeds, from the figures of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from vae_edge.evaluation.ranges import PrecisionRecall

DASH = "–"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds of a figure that was averaged over parts first.

    ``mean`` is NaN where the figure is not defined in some run, ``sd`` where there is one seed.
    """

    mean: float
    sd: float

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return DASH
        return f"{self.mean:.3f}" + ("" if math.isnan(self.sd) else f" ± {self.sd:.3f}")

    @property
    def short(self) -> str:
        """The mean alone, three figures."""
        return DASH if math.isnan(self.mean) else f"{self.mean:.3g}"


@dataclass(frozen=True)
class Method:
    """All figures of one method on one data set, a plain dict per part and seed."""

    data_set: str
    model: str
    head: str
    runs: tuple[dict[str, Any], ...]

    def spread(self, *path: str) -> Spread:
        """Of the figure under these keys."""
        return self._over_seeds(lambda run: _number(run, path))

    def f1_over_time(self, definition: str) -> Spread:
        """Of one of the definitions of precision and recall in ``RangeFigures``."""
        return self._over_seeds(lambda run: PrecisionRecall(**run["over_time"][definition]).f1)

    def _over_seeds(self, figure: Callable[[dict[str, Any]], float]) -> Spread:
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            by_seed.setdefault(run["seed"], []).append(figure(run))
        means = [fmean(values) for values in by_seed.values()]
        return Spread(fmean(means), stdev(means) if len(means) > 1 else math.nan)


def methods(figures: Iterable[dict[str, Any]]) -> list[Method]:
    """Runs put together by data set, model and head, in the order they first come in."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for figure in figures:
        found.setdefault((figure["data_set"], figure["model"], figure["head"]), []).append(figure)
    return [Method(*key, tuple(runs)) for key, runs in found.items()]


def _number(run: dict[str, Any], path: tuple[str, ...]) -> float:
    value: Any = run
    for key in path:
        value = value[key]
    return math.nan if value is None else float(value)
