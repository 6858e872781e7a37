"""Detectors to hold a VAE against: fitted to the same rows, calibrated by the same rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.evaluation.scored import HeadRows
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.statistics.conformal import ScoreSketch

Rows = NDArray[Any]
Score = Callable[[Rows], Rows]
"""Rows (n, elements) to scores (n,), larger is less normal."""

WHY = "this benchmark"


def isolation_forest(training: Rows, seed: int) -> Score:
    """Liu, Ting & Zhou 2008, as scikit-learn has it, 100 trees."""
    ensemble = require("sklearn.ensemble", extra="evaluate", why=WHY)
    forest = ensemble.IsolationForest(random_state=seed).fit(training)
    return lambda rows: -forest.score_samples(rows)


def principal_components(training: Rows, components: int) -> Score:
    """Squared distance to the hyperplane of the first ``components``, at most one fewer than there are elements."""
    decomposition = require("sklearn.decomposition", extra="evaluate", why=WHY)
    fewest = min(components, training.shape[1] - 1, len(training) - 1)
    pca = decomposition.PCA(n_components=fewest, random_state=0).fit(training)
    return lambda rows: np.square(rows - pca.inverse_transform(pca.transform(rows))).sum(axis=1)


def pyod_vae(training: Rows, seed: int) -> Score:
    """PyOD's VAE with its defaults; takes raw rows.

    Raises:
        MissingDependency: PyOD is not installed.
    """
    vae = require("pyod.models.vae", extra=None, why="the comparison with PyOD")
    detector = vae.VAE(random_state=seed, verbose=0)
    detector.fit(training)
    return lambda rows: np.asarray(detector.decision_function(rows))


def judged(score: Score, calibration: Rows, rows: Rows, rate: float) -> HeadRows:
    """Scores of test rows with a threshold from calibration rows, by the rule of a bundle."""
    sketch = ScoreSketch.fit(score(calibration).astype(np.float32))
    return HeadRows(score(rows).astype(np.float64), sketch.threshold(rate), rate, sketch.n)
