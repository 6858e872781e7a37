"""One model from training to figures: train, export, load the bundle, score with it, judge."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import baselines
import numpy as np
from baselines import Score
from model_settings import RATE, Setting
from numpy.typing import NDArray
from public_data import Case, Labelled, Split

from vae_edge.evaluation import ScoredRows, judge, score_rows
from vae_edge.evaluation.ranges import RangeFigures, RangeOptions
from vae_edge.evaluation.scored import HeadRows
from vae_edge.training import load_run, train
from vae_edge.training.units import default_units
from vae_edge_export import export
from vae_edge_runtime import load
from vae_edge_runtime.errors import VaeEdgeError, VerdictFailed

Rows = NDArray[Any]
PYOD = "PyOD VAE"


@dataclass(frozen=True)
class Figures:
    """What one method made of one data set, one part of it and one seed.

    Attributes:
        model: of the VAE, or the name of another detector; head: of the VAE, else empty.
        normal, anomalous: tested rows; calibration: rows behind the threshold.
        false_positive_rate: realised; over_time: None where rows are not steps.
    """

    data_set: str
    model: str
    head: str
    part: int
    seed: int
    normal: int
    anomalous: int
    calibration: int
    auroc: float
    aupr: float
    fpr_at_95_tpr: float
    f1: float
    false_positive_rate: float
    over_time: RangeFigures | None


@dataclass(frozen=True)
class Outcome:
    """Of one part and one seed.

    Attributes:
        problems: what a gate refused, in words; and what came to no figures.
        cpu_seconds: processor time, which a busy machine does not change.
    """

    figures: tuple[Figures, ...]
    problems: tuple[str, ...]
    cpu_seconds: float


def measure(case: Case, part: int, seed: int, settings: tuple[Setting, ...], *, with_pyod: bool) -> Outcome:
    """All models of the case's family, and the detectors to hold them against."""
    start = time.process_time()
    cut = case.cut(part, seed)
    figures: list[Figures] = []
    problems: list[str] = []

    def add(model: str, scored: dict[str, ScoredRows], *, heads: bool) -> None:
        for name, rows in scored.items():
            figures.extend(_judge(case, name, model, part, seed, rows, cut.tests[name].anomalous, heads=heads))

    for setting in settings:
        where = f"{', '.join(cut.tests)}, part {part}, seed {seed}, {setting.name}"
        try:
            scored, refusal = bundle_scores(setting, cut, seed)
        except VaeEdgeError as error:
            problems.append(f"{where}: NO FIGURES: {error}")
            continue
        add(setting.name, scored, heads=True)
        if refusal:
            problems.append(f"{where}: {refusal}")
    for model, score in _others(cut, seed, settings[0], with_pyod=with_pyod).items():
        add(model, _scored_by(score, cut), heads=False)
    return Outcome(tuple(figures), tuple(problems), time.process_time() - start)


def bundle_scores(setting: Setting, cut: Split, seed: int) -> tuple[dict[str, ScoredRows], str]:
    """Train a model, export it, and let its bundle score every test by every head.

    Returns:
        Scores per data set; and what a gate said, where it refused the export and was opened for this page.
    """
    refusal = ""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        train(setting.training(cut.training.shape[1:], seed), cut.training, out=place / "run")
        run = load_run(place / "run")
        bundle = place / "model.vaeb"
        config = setting.export(run.export_options)
        try:
            export(run.model, bundle, calibration=cut.calibration, config=config)
        except VerdictFailed as error:
            refusal = str(error)
            opened = dataclasses.replace(config, max_flipped_fraction=1.0, min_rank_correlation=-1.0)
            export(run.model, bundle, calibration=cut.calibration, config=opened)
        with load(bundle, device="cpu", threads=1) as vae:
            return {name: score_rows(vae, test.rows) for name, test in cut.tests.items()}, refusal


def _others(cut: Split, seed: int, setting: Setting, *, with_pyod: bool) -> dict[str, Score]:
    """Detectors by name; rows come to them raw."""
    units = default_units(cut.training, setting.layout, setting.likelihood)
    offset, scale = (np.array(value, dtype=np.float64) for value in units)

    def standardised(rows: Rows) -> Rows:
        return ((rows - offset) / scale).reshape(len(rows), -1)

    def on_standardised(score: Score) -> Score:
        return lambda rows: score(standardised(rows))

    training = standardised(cut.training)
    forest = baselines.isolation_forest(training, seed)
    pca = baselines.principal_components(training, setting.latent)
    found: dict[str, Score] = {"IsolationForest": on_standardised(forest), "PCA": on_standardised(pca)}
    return found | ({PYOD: baselines.pyod_vae(cut.training, seed)} if with_pyod else {})


def _scored_by(score: Score, cut: Split) -> dict[str, ScoredRows]:
    def one(test: Labelled) -> ScoredRows:
        rows: HeadRows = baselines.judged(score, cut.calibration, test.rows, RATE)
        return ScoredRows({"": rows}, np.zeros(len(test.rows), dtype=np.uint8), None)

    return {name: one(test) for name, test in cut.tests.items()}


def _judge(
    case: Case, name: str, model: str, part: int, seed: int, scored: ScoredRows, anomalous: Rows, *, heads: bool
) -> list[Figures]:
    options = RangeOptions() if case.over_time else None
    found = judge(scored, anomalous, ranges=options, bootstrap=0)
    rows = []
    for figures in found.figures:
        if figures.decisions is None:
            raise AssertionError(f"{figures.head} has no threshold")
        rows.append(
            Figures(
                data_set=name,
                model=model,
                head=figures.head if heads else "",
                part=part,
                seed=seed,
                normal=figures.normal,
                anomalous=figures.anomalous,
                calibration=scored.heads[figures.head].calibration_rows,
                auroc=figures.ranking.auroc,
                aupr=figures.ranking.average_precision,
                fpr_at_95_tpr=figures.ranking.fpr_at_95_tpr,
                f1=figures.decisions.f1,
                false_positive_rate=figures.decisions.false_positive_rate,
                over_time=found.ranges.get(figures.head),
            )
        )
    return rows
