"""Series of the Numenta Anomaly Benchmark, cut into windows.

What comes before the first labelled anomaly, at most 30 % of a series and at least the 15 % that NAB calls probation,
is normal: two thirds of it train, the last third calibrates. Every later step is tested by the window that ends there.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import DataError

SERIES = ("ec2_cpu_utilization_825cc2", "occupancy_t4013", "speed_7578")
STEPS = 32
LEAST_NORMAL, MOST_NORMAL = 0.15, 0.3
LABELS = "anomaly_windows.json"

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows (n, 32, 1) of each part; ``anomalous`` (n,): labels of the last steps of ``test``."""

    training: F32
    calibration: F32
    test: F32
    anomalous: NDArray[np.bool_]


def windows(folder: Path, name: str) -> Windows:
    """Cut a series; windows overlap, and those of different parts share no step but for the first of the test.

    Raises:
        DataError: a file is not there or not as NAB writes it, or an anomaly lies in the first 15 %.
    """
    values, anomalous = read_series(folder, name)
    return cut(values, anomalous, name)


def cut(values: F32, anomalous: NDArray[np.bool_], name: str) -> Windows:
    """As ``windows``, of values (n,) and labels (n,)."""
    first_anomaly = int(np.argmax(anomalous)) if anomalous.any() else len(values)
    normal = min(int(len(values) * MOST_NORMAL), first_anomaly)
    trained = normal * 2 // 3
    if normal < LEAST_NORMAL * len(values):
        raise DataError(f"{name} has an anomaly in its first {LEAST_NORMAL:.0%}: too little is left to train on")
    if normal - trained < STEPS:
        raise DataError(f"{name} has {normal} steps to train and calibrate on: too few for windows of {STEPS}")
    return Windows(
        training=_slide(values[:trained]),
        calibration=_slide(values[trained:normal]),
        test=_slide(values[normal - STEPS + 1 :]),
        anomalous=anomalous[normal:],
    )


def _slide(values: F32) -> F32:
    """All windows of consecutive steps, (n - 31, 32, 1)."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, STEPS)[..., None])


def read_series(folder: Path, name: str) -> tuple[F32, NDArray[np.bool_]]:
    """Values (n,) and labels (n,) of a series.

    Raises:
        DataError: see ``windows``.
    """
    try:
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        # Both files write times so that their order is that of their text.
        times = np.array([line["timestamp"] for line in lines])
        values = np.array([line["value"] for line in lines], dtype=np.float32)
        stretches: list[list[Any]] = json.loads((folder / LABELS).read_text("utf-8"))[f"{name}.csv"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{name} cannot be read from {folder} ({error!r}): give NAB's series with {LABELS}") from error
    anomalous = np.zeros(len(values), dtype=bool)
    for first, last in stretches:
        anomalous |= (times >= first.split(".")[0]) & (times <= last.split(".")[0])
    return values, anomalous
