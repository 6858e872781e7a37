"""One material, one seed, one method: figures of pictures and of pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from defects import DEFECTS, planted
from materials import Material
from numpy.typing import NDArray
from other_detectors import patch_neighbours, pyod_scores

from vae_edge.evaluation import metrics
from vae_edge.evaluation.pixels import pixel_figures
from vae_edge.evaluation.scored import score_rows
from vae_edge_runtime import load
from vae_edge_runtime.statistics.conformal import ScoreSketch

RATE = 0.01


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures of one material and seed."""

    training: NDArray[np.uint8]
    calibration: NDArray[np.uint8]
    test: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    kinds: NDArray[np.str_]


@dataclass
class Figures:
    """Of one head or detector; pixels only where it has a map."""

    auroc: float
    average_precision: float
    recall: float
    false_positives: float
    by_kind: dict[str, float]
    pixels: dict[str, float] = field(default_factory=dict)
    pixels_by_kind: dict[str, dict[str, float]] = field(default_factory=dict)


def split(material: Material, seed: int, *, training: int = 200, calibration: int = 130, good: int = 80,
          bad: int = 20) -> Split:  # fmt: skip
    """Normal pictures to train on; from another place those of the calibration, and the test with its defects."""
    rng = np.random.default_rng(1000 + seed)
    normal, held_out = material.draw(training, rng, False), material.draw(calibration, rng, True)
    rows, masks, kinds = [material.draw(good, rng, True)], [np.zeros((good, *normal.shape[1:3]), bool)], ["good"] * good
    for kind in DEFECTS:
        spoilt, mask = planted(material.draw(bad, rng, True), kind, rng)
        rows, masks, kinds = [*rows, spoilt], [*masks, mask], kinds + [kind] * bad
    return Split(normal, held_out, np.concatenate(rows), np.concatenate(masks), np.array(kinds))


def figures(scores: NDArray[Any], calibration: NDArray[Any], split: Split, maps: NDArray[Any] | None) -> Figures:
    """``scores`` of the test pictures, ``calibration`` of normal ones: the threshold is that of a bundle."""
    truth = split.kinds != "good"
    ranking = metrics.ranking(scores.astype(np.float64), truth)
    threshold = ScoreSketch.fit(calibration.astype(np.float32)).threshold(RATE)
    by_kind = {}
    for kind in DEFECTS:
        chosen = ~truth | (split.kinds == kind)
        by_kind[kind] = metrics.ranking(scores[chosen].astype(np.float64), truth[chosen]).auroc
    flagged = scores > threshold
    rates = float(flagged[truth].mean()), float(flagged[~truth].mean())
    made = Figures(ranking.auroc, ranking.average_precision, *rates, by_kind)
    if maps is not None:
        pixels = pixel_figures(maps, split.masks)
        made.pixels = {"auroc": pixels.auroc, "aupr": pixels.average_precision, "pro": pixels.pro}
        for kind in DEFECTS:
            chosen = ~truth | (split.kinds == kind)
            of_kind = pixel_figures(maps[chosen], split.masks[chosen])
            made.pixels_by_kind[kind] = {"auroc": of_kind.auroc, "pro": of_kind.pro}
    return made


def measure_bundle(path: Path, split: Split) -> dict[str, Figures]:
    """Every head of a bundle."""
    with load(path, device="cpu") as vae:
        test = score_rows(vae, split.test, maps=True)
        normal = score_rows(vae, split.calibration)
        return {h: figures(test.heads[h].score, normal.heads[h].score, split, test.maps) for h in vae.heads}


def measure_patches(split: Split, seed: int) -> dict[str, Figures]:
    """Nearest neighbours of patches, with the mean of the largest 1 % of the map as the score."""
    normal = patch_neighbours(split.training, split.calibration, seed=seed)
    maps = patch_neighbours(split.training, split.test, seed=seed)
    return {"top": figures(_top(maps), _top(normal), split, maps)}


def measure_pyod(split: Split, seed: int, detector: str) -> dict[str, Figures]:
    """A detector of PyOD, which has no map."""
    both = pyod_scores(detector, split.training, np.concatenate([split.calibration, split.test]), seed=seed)
    cut = len(split.calibration)
    return {"": figures(both[cut:], both[:cut], split, None)}


def _top(maps: NDArray[Any]) -> NDArray[Any]:
    flat = np.sort(maps.reshape(len(maps), -1), axis=1)
    return np.asarray(flat[:, -max(1, flat.shape[1] // 100) :].mean(1))
