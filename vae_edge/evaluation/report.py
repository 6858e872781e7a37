"""One evaluation: scored rows and what is known about them to figures, per head and class of anomaly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import VAE, arguments
from vae_edge_runtime.errors import InputError
from vae_edge_runtime.text import counted

from . import metrics
from .metrics import Decisions, Flags, Interval, Ranking, RankingIntervals
from .pixels import PixelFigures, check_masks, pixel_figures
from .ranges import FLATTERY, PrecisionRecall, RangeFigures, RangeOptions, range_figures
from .scored import HeadRows, ScoredRows, score_rows


@dataclass(frozen=True)
class HeadFigures:
    """One head on all normal rows and on the anomalies, or on those of one class.

    Attributes:
        head: its name.
        anomaly_class: None for all anomalies together.
        normal, anomalous: number of scored rows of each kind.
        ranking: figures that need no threshold. intervals: theirs, None without a bootstrap.
        threshold: calibrated, None where the bundle has none; ``decisions`` are then None too.
        promised_rate: of false positives, what the threshold stands for.
        false_positive_interval: exact 95 % interval of the realised rate.
    """

    head: str
    anomaly_class: str | None
    normal: int
    anomalous: int
    ranking: Ranking
    intervals: RankingIntervals | None
    threshold: float | None
    promised_rate: float | None
    decisions: Decisions | None
    false_positive_interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, derived figures included."""
        rates = ("precision", "recall", "f1", "false_positive_rate")
        own = {} if self.decisions is None else {name: getattr(self.decisions, name) for name in rates}
        return {**asdict(self), "decisions": self.decisions and {**asdict(self.decisions), **own}}


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found.

    Attributes:
        rows: given. not_scored: rows per status that is not ok; they are left out of all figures
            but those over time.
        figures: one per head, each followed by those of its classes.
        ranges: per head with a threshold, over time; empty where it was not asked for.
        pixels: of the maps; None without masks.
        bootstrap, seed: of the intervals; 0 repeats: none.
        warnings: in words, what to know before the figures are believed.
    """

    rows: int
    not_scored: dict[str, int]
    figures: tuple[HeadFigures, ...]
    ranges: dict[str, RangeFigures]
    pixels: PixelFigures | None
    bootstrap: int
    seed: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, derived figures included."""
        return {
            **asdict(self),
            "figures": [figures.to_dict() for figures in self.figures],
            "ranges": {head: _range_dict(figures) for head, figures in self.ranges.items()},
        }


def evaluate(
    vae: VAE,
    rows: NDArray[Any],
    labels: Any,
    *,
    condition: Any = None,
    heads: str | tuple[str, ...] = "all",
    classes: Any = None,
    masks: Any = None,
    ranges: RangeOptions | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score labelled rows and say how good scores and decisions are.

    Args:
        vae: the session.
        rows: (n, *input_shape), and ``condition`` beside them, as ``VAE.score`` takes them.
        labels: (n,), 1 for an anomaly, 0 for a normal row.
        heads: names, or ``all``.
        classes: (n,) names of kinds of anomaly; those of normal rows are not looked at.
        masks: (n, h, w) of 0 and 1, for images: which pixels are anomalous.
        ranges: how to judge rows that are steps of time, in their order.
        bootstrap: repeats for the intervals; 0 for none.
        seed: of the bootstrap.

    Raises:
        InputError: arrays that do not fit, or a kind of row that is missing.
        OptionError: an unknown head, too few repeats, or masks for rows that are no images.
    """
    scored = score_rows(vae, rows, condition=condition, heads=heads, maps=masks is not None)
    return judge(scored, labels, classes=classes, masks=masks, ranges=ranges, bootstrap=bootstrap, seed=seed)


def judge(
    scored: ScoredRows,
    labels: Any,
    *,
    classes: Any = None,
    masks: Any = None,
    ranges: RangeOptions | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] = lambda figures: None,
) -> Evaluation:
    """Figures of rows that are scored already; arguments and errors as in ``evaluate``.

    ``progress`` is called with 1 after each of the ``count_figures(labels, classes)`` figures per head.
    """
    arguments.instance("scored", scored, ScoredRows, "what score_rows gives")
    arguments.function("progress", progress)
    if ranges is not None:
        arguments.instance("ranges", ranges, RangeOptions, "RangeOptions, or None where rows are no steps of time")
    if arguments.whole_number("bootstrap", bootstrap, low=0):
        metrics.check_bootstrap(bootstrap, seed)
    ok, n = scored.ok, len(scored.status)
    truth = metrics.check_labels(labels, n)
    groups = _groups(truth, classes)
    marked = None if masks is None or scored.maps is None else _check_masks(masks, scored.maps.shape, truth)
    figures = []
    for name, head in scored.heads.items():
        for anomaly_class, members in groups.items():
            figures.append(_figures(name, head, anomaly_class, truth, (~truth | members) & ok, bootstrap, seed))
            progress(1)
    over_time = {
        name: range_figures(truth, head.flagged, ranges, not_scored=int(np.count_nonzero(~ok)))
        for name, head in scored.heads.items()
        if ranges is not None and head.flagged is not None
    }
    return Evaluation(
        rows=n,
        not_scored=scored.not_scored,
        figures=tuple(figures),
        ranges=over_time,
        pixels=None if marked is None or scored.maps is None else pixel_figures(scored.maps[ok], marked[ok]),
        bootstrap=bootstrap,
        seed=seed,
        warnings=tuple(_warnings(scored, figures, over_time)),
    )


def count_figures(labels: Any, classes: Any) -> int:
    """Number of figures per head that ``judge`` makes of these labels."""
    return len(_groups(metrics.check_labels(labels, len(labels)), classes))


def _groups(truth: Flags, classes: Any) -> dict[str | None, Flags]:
    """All anomalies, then each class of them."""
    groups: dict[str | None, Flags] = {None: truth}
    if classes is None:
        return groups
    names = np.asarray(classes).astype(np.str_)
    if names.shape != truth.shape:
        raise InputError(f"classes have shape {names.shape} for {counted(len(truth), 'row')}: pass one per row")
    if (names[truth] == "").any():
        raise InputError("an anomalous row has no class: name the class of every anomaly, or leave out the classes")
    return groups | {str(name): truth & (names == name) for name in np.unique(names[truth])}


def _check_masks(masks: Any, shape: tuple[int, ...], truth: Flags) -> NDArray[np.bool_]:
    marked = check_masks(masks, shape)
    marked_normal = np.flatnonzero(marked.any(axis=(1, 2)) & ~truth)
    if len(marked_normal):
        raise InputError(f"row {marked_normal[0]} is labelled normal, and its mask marks pixels: correct one of them")
    return marked


def _figures(
    name: str, head: HeadRows, anomaly_class: str | None, truth: Flags, chosen: Flags, bootstrap: int, seed: int
) -> HeadFigures:
    score, labels = head.score[chosen], truth[chosen]
    if not 0 < labels.sum() < len(labels):
        which = "normal row" if labels.any() else "anomaly" + (f" of class '{anomaly_class}'" if anomaly_class else "")
        raise InputError(f"no {which} was scored: an evaluation needs both kinds")
    decided = None if head.flagged is None else metrics.decisions(head.flagged[chosen], labels)
    normal = int(np.count_nonzero(~labels))
    return HeadFigures(
        head=name,
        anomaly_class=anomaly_class,
        normal=normal,
        anomalous=len(labels) - normal,
        ranking=metrics.ranking(score, labels),
        intervals=metrics.bootstrap(score, labels, repeats=bootstrap, seed=seed) if bootstrap else None,
        threshold=head.threshold,
        promised_rate=head.promised_rate,
        decisions=decided,
        false_positive_interval=None if decided is None else metrics.binomial_interval(decided.false_positives, normal),
    )


def _warnings(scored: ScoredRows, figures: list[HeadFigures], ranges: dict[str, RangeFigures]) -> list[str]:
    warnings = []
    if count := int(np.count_nonzero(~scored.ok)):
        kinds = ", ".join(f"{n} {kind}" for kind, n in scored.not_scored.items())
        warnings.append(f"{count} of {len(scored.status)} rows were not scored ({kinds}) and are left out")
    for f in figures:
        if f.anomaly_class is not None or f.decisions is None or f.promised_rate is None:
            continue
        if f.false_positive_interval is not None and f.false_positive_interval[0] > f.promised_rate:
            warnings.append(
                f"{f.head}: {f.decisions.false_positive_rate:.3g} of the normal rows are flagged, "
                f"{f.promised_rate:.3g} was promised: they are not like the calibration rows, or those "
                f"({scored.heads[f.head].calibration_rows}) were few"
            )
    if without := [name for name, head in scored.heads.items() if head.threshold is None]:
        warnings.append(f"no threshold for {', '.join(without)}: the bundle carries no calibration of it")
    warnings += [head.warning for head in scored.heads.values() if head.warning is not None]
    return [*warnings, FLATTERY] if ranges else warnings


def _range_dict(figures: RangeFigures) -> dict[str, Any]:
    definitions = {name: value for name, value in vars(figures).items() if isinstance(value, PrecisionRecall)}
    derived = {name: {**asdict(value), "f1": value.f1} for name, value in definitions.items()}
    return {**asdict(figures), "event_recall": figures.event_recall, **derived}
