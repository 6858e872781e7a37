"""Bundles with compression tables for the tests of the codec: made once, from the corpus."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from vae_edge_runtime import Bundle, Manifest, recalibrate

CORPUS = Path(__file__).parents[1] / "corpus"
_FOLDER = tempfile.TemporaryDirectory(prefix="codec-bundles-")


def windows(n: int, seed: int) -> np.ndarray:
    """Windows (n, 20, 5) of a slow drift and noise, on a grid of 1/100."""
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(0, 0.2, (n, 20, 5)), axis=1)
    return (np.round(5 + drift + rng.normal(0, 0.3, (n, 20, 5)), 2)).astype(np.float32)


@functools.cache
def window_bundle() -> Path:
    """A bundle of windows (20, 5), made by schema version 1, with tables for two bounds and exact rows."""
    path = Path(_FOLDER.name) / "window.vaeb"
    recalibrate(
        CORPUS / "v1-window.vaeb", path, rows=windows(300, 1), compress="0.3,0.05,exact", false_positive_rate=0.1
    )
    return path


def rows_for(manifest: Manifest, n: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows that a model of the corpus takes, and their conditions where it takes any."""
    rng, spec, given = np.random.default_rng(seed), manifest.input, manifest.condition
    if spec.dtype == "uint8":
        rows = rng.integers(0, 256, (n, *spec.shape)).astype(np.uint8)
    else:
        rows = rng.uniform(max(spec.low, -3), min(spec.high, 3), (n, *spec.shape)).astype(np.float32)
    condition = None
    if given is not None:
        drawn = rng.integers(int(given.low), int(given.high) + 1, (n, *given.shape))
        condition = drawn if given.dtype == "int64" else rng.normal(size=(n, *given.shape)).astype(np.float32)
    return rows, condition


@functools.cache
def other_bundle(name: str, compress: str) -> Path:
    """Any other bundle of the corpus with compression tables."""
    source, path = CORPUS / f"v1-{name}.vaeb", Path(_FOLDER.name) / f"{name}.vaeb"
    with Bundle.open(source) as bundle:
        rows, condition = rows_for(bundle.manifest, 120, 1)
    recalibrate(source, path, rows=rows, condition=condition, compress=compress, false_positive_rate=0.1)
    return path
